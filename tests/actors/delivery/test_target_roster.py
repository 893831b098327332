"""Who is told of new deliveries, and who finds them in the outbox."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import paths
from actors.delivery.targets import TargetRoster, target_name
from actors.ownership import SOLE_TENURE
from actors.runtime import ChildSpec, Supervisor
from protocols.errors import DeliveryRetryable
from protocols.messages import TargetId
from protocols.targets import Target
from protocols.targets.policy import DeliveryPolicy
from storage.sealing import SecretBox
from storage.target_settings import TargetSettings
from tests.support.pipeline import TARGET
from tests.support.target_scene import Scene, target_scene


class RosterScene:
    """A roster with the actor of one target, which cannot be opened at first."""

    def __init__(self, inner: Scene) -> None:
        self.inner = inner
        self.is_open = False
        inner.system.spawn(paths.HUB, ChildSpec("targets", Supervisor, (), {}))
        self.roster = TargetRoster(
            inner.system,
            outbox=inner.outbox,
            settings=TargetSettings(inner.database, SecretBox("k" * 32)),
            open_target=self._open_target,
        )
        self.roster.take_up(target_name(TARGET), SOLE_TENURE)

    async def _open_target(self, _target_id: TargetId) -> tuple[Target, DeliveryPolicy]:
        if not self.is_open:
            raise DeliveryRetryable("The broker is away.")
        return self.inner.receiver, DeliveryPolicy()

    @property
    def waiting(self) -> int:
        """How many messages wait for the target's actor."""
        return self.inner.system.info(paths.target_path(TARGET)).mailbox_length


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[RosterScene]:
    async with target_scene(tmp_path) as inner:
        yield RosterScene(inner)


async def test_target_that_cannot_be_opened_has_nothing_pile_up_and_sends_all_in_the_end(
    scene: RosterScene,
) -> None:
    await scene.inner.pass_time(1)
    for device_id in (1, 2, 1):
        items = await scene.inner.make(device_id)
        scene.roster.deliver(items)
        scene.roster.look([TARGET])
        scene.roster.withdraw(TARGET, [])
    assert scene.waiting == 0
    scene.is_open = True
    await scene.inner.pass_time(600)
    assert (await scene.inner.pipeline.balance()).deliveries.delivered == 3


async def test_target_that_sends_is_told(scene: RosterScene) -> None:
    scene.is_open = True
    await scene.inner.pass_time(600)
    scene.roster.deliver(await scene.inner.make(1))
    await scene.inner.pass_time(1)
    assert (await scene.inner.pipeline.balance()).deliveries.delivered == 1
