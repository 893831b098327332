"""Open Data DK: values that are published, for anyone to fetch.

The public feeds are made of what the decoders gave (`storage/open_data.py`); nothing is ever sent,
and no deliveries are made for targets of this kind. Their data set is kept beside them.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Self

from protocols.errors import DeliveryRefused, InvalidInput
from protocols.targets._contract import Outcome, Push, Target, TargetResources
from protocols.targets.setting_names import OPERATIONAL_EVENTS

OPEN_DATA_DK: Final = "OPENDATADK"


class OpenDataDkTarget(Target):
    kind: ClassVar[str] = OPEN_DATA_DK
    takes_pushes: bool = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        """There is nothing to set, but for what every kind may be told and this one cannot do."""
        if settings.get(OPERATIONAL_EVENTS):
            raise InvalidInput(
                f"`{OPERATIONAL_EVENTS}` cannot be used here: nothing is ever sent to open data."
            )
        return cls()

    async def open(self) -> None:
        """Nothing to do: whoever wants the values comes for them."""

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        """Refuse: nobody calls this, and if somebody did the message would have to be seen."""
        return [DeliveryRefused("Open data is fetched, never sent.") for _ in batch]

    async def close(self) -> None:
        """Nothing to do."""
