"""What is published, on every engine: the latest value of each device, and nobody else's."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec import structs

from protocols.errors import NotFound
from protocols.messages import ApplicationId, DecoderId, DeviceId
from storage.database import Transaction
from storage.open_data import DEPTH, LatestValue, ValueState, latest_values
from storage.plans import PlanStore
from storage.repositories import Author, connections, data_targets, decoders, devices, open_data
from storage.repositories import applications as application_rows
from storage.repositories import organizations as organization_rows
from storage.repositories.applications import ApplicationFields
from storage.repositories.connections import ConnectionFields
from storage.repositories.data_targets import DataTargetFields
from storage.repositories.decoders import DecoderFields
from storage.repositories.devices import DeviceFields, NewDevice
from storage.repositories.open_data import DatasetFields, Share
from storage.results import JobState
from tests.support.pipeline import NOW, Pipeline, job, result, uplink

AUTHOR = Author(7, NOW)
DATASET = DatasetFields(
    name="Indoor climate",
    description="In schools",
    keywords=("climate",),
    license="https://creativecommons.org/licenses/by/4.0/",
    author_name="Ada",
    author_email="ada@example.org",
    resource_title="Latest values",
)
GIVEN = ValueState.GIVEN


class City:
    """An organization with an application, and a data target that publishes."""

    def __init__(self, transaction: Transaction, name: str) -> None:
        self.name = name
        self.organization_id = organization_rows.create(transaction, name, AUTHOR)
        self.application_id = self.application(transaction, name)
        self.target_id = self.target(transaction)
        open_data.put(transaction, self.target_id, DATASET, AUTHOR)
        self.share_id = open_data.of_targets(transaction, [self.target_id])[self.target_id].id

    def application(self, transaction: Transaction, name: str) -> int:
        fields = ApplicationFields(name=f"{name} application", personal_data=False)
        return application_rows.create(transaction, self.organization_id, fields, AUTHOR)

    def target(self, transaction: Transaction, kind: str = "OPENDATADK") -> int:
        fields = DataTargetFields(name="t", type=kind, settings={})
        return data_targets.create(transaction, self.application_id, fields, AUTHOR)

    def decoder(self, transaction: Transaction) -> int:
        fields = DecoderFields(
            name="d", organization_id=self.organization_id, decoding_function="/* */"
        )
        return decoders.create(transaction, fields, AUTHOR)

    def devices(self, transaction: Transaction, count: int) -> list[int]:
        return [
            devices.create(
                transaction,
                NewDevice(
                    application_id=self.application_id,
                    type="GENERIC_HTTP",
                    api_key=None,
                    fields=DeviceFields(name=f"device {number}"),
                ),
                AUTHOR,
            )
            for number in range(count)
        ]

    def connect(
        self, transaction: Transaction, decoder_id: int | None, device_ids: Sequence[int]
    ) -> None:
        fields = ConnectionFields(
            payload_decoder_id=decoder_id, data_target_id=self.target_id, device_ids=device_ids
        )
        connections.create(transaction, fields, AUTHOR)


class Scene:
    """A city with three devices, connected through one decoder."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sent = 0

    async def laid(self) -> "Scene":
        def unit(transaction: Transaction) -> None:
            self.city = City(transaction, "Town")
            self.decoder_id = self.city.decoder(transaction)
            self.device_ids = self.city.devices(transaction, 3)
            self.city.connect(transaction, self.decoder_id, self.device_ids)

        await self.pipeline.database.write(unit)
        return self

    async def send(
        self,
        device_id: int,
        body: bytes | None = b"{}",
        *,
        state: JobState = JobState.DECODED,
        decoder_id: int | None = None,
        application_id: int | None = None,
    ) -> None:
        """Have a device send something, and one decoder come to this with it."""
        self.sent += 1
        accepted = structs.replace(
            uplink(device_id, payload=b'{"raw": %d}' % self.sent),
            received_at=NOW + timedelta(seconds=self.sent),
            application_id=ApplicationId(application_id or self.city.application_id),
        )
        (entry,) = await self.pipeline.accept(accepted)
        decoder = None if state is JobState.NO_DECODER else decoder_id or self.decoder_id
        done = job(
            state,
            decoder_id=None if decoder is None else DecoderId(decoder),
            body=body,
            error="It broke." if state is JobState.FAILED else None,
        )
        await self.pipeline.commit(result(entry, done, targets=()))

    async def values(self, **limits: int) -> list[LatestValue]:
        city = self.city
        return await self.pipeline.database.read(
            lambda reader: latest_values(
                reader, open_data.share(reader, city.organization_id, city.share_id), **limits
            )
        )


@pytest.fixture
async def scene(pipeline: Pipeline) -> Scene:
    return await Scene(pipeline).laid()


async def test_latest_value_of_each_device_is_what_its_decoder_gave(scene: Scene) -> None:
    first, second, _silent = scene.device_ids
    await scene.send(second, b'{"t": 1.50}')
    await scene.send(first, b"[1]")
    await scene.send(first, b"[2]")
    assert await scene.values() == [
        LatestValue(first, GIVEN, b"[2]"),
        LatestValue(second, GIVEN, b'{"t": 1.50}'),
    ]


async def test_nothing_is_known_of_devices_that_never_sent(scene: Scene) -> None:
    assert await scene.values() == []


async def test_failure_of_the_decoder_stands_in_place_of_the_value(scene: Scene) -> None:
    first, *_ = scene.device_ids
    await scene.send(first, b"[1]")
    await scene.send(first, None, state=JobState.FAILED)
    assert await scene.values() == [LatestValue(first, ValueState.FAILED)]


async def test_value_stays_while_a_later_message_waits_for_its_decoder(scene: Scene) -> None:
    first, *_ = scene.device_ids
    await scene.send(first, b"[1]")
    await scene.send(first, None, state=JobState.DEFERRED)
    assert await scene.values() == [LatestValue(first, GIVEN, b"[1]")]


async def test_device_without_a_decoder_is_published_as_it_sends(scene: Scene) -> None:
    def unit(transaction: Transaction) -> int:
        (device_id,) = scene.city.devices(transaction, 1)
        scene.city.connect(transaction, None, [device_id])
        return device_id

    device_id = await scene.pipeline.database.write(unit)
    await scene.send(device_id, None, state=JobState.NO_DECODER)
    assert await scene.values() == [LatestValue(device_id, GIVEN, b'{"raw": 1}')]


async def test_device_with_two_decoders_is_published_by_each(scene: Scene) -> None:
    first, *_ = scene.device_ids

    def unit(transaction: Transaction) -> int:
        other = scene.city.decoder(transaction)
        # Twice: a second connection of the same kind brings nothing twice.
        scene.city.connect(transaction, other, [first])
        scene.city.connect(transaction, other, [first])
        return other

    other = await scene.pipeline.database.write(unit)
    await scene.send(first, b"[1]")
    await scene.send(first, b"[2]", decoder_id=other)
    assert await scene.values() == [
        LatestValue(first, GIVEN, b"[1]"),
        LatestValue(first, GIVEN, b"[2]"),
    ]


async def test_decoder_of_two_applications_brings_nothing_of_the_other(scene: Scene) -> None:
    def unit(transaction: Transaction) -> City:
        village = City(transaction, "Village")
        village.connect(transaction, scene.decoder_id, village.devices(transaction, 1))
        return village

    village = await scene.pipeline.database.write(unit)
    foreign = max(scene.device_ids) + 1
    await scene.send(foreign, b"[1]", application_id=village.application_id)
    assert await scene.values() == []
    own = await scene.pipeline.database.read(
        lambda reader: latest_values(
            reader, open_data.share(reader, village.organization_id, village.share_id)
        )
    )
    assert own == [LatestValue(foreign, GIVEN, b"[1]")]


async def test_what_a_device_sent_in_another_application_is_not_published(scene: Scene) -> None:
    first, second, _ = scene.device_ids
    other = await scene.pipeline.database.write(
        lambda transaction: scene.city.application(transaction, "Other")
    )
    await scene.send(first, b"[1]", application_id=other)
    await scene.send(second, b"[2]")
    assert await scene.values() == [LatestValue(second, GIVEN, b"[2]")]


async def test_only_so_many_messages_of_a_device_are_looked_through(scene: Scene) -> None:
    first, second, _ = scene.device_ids
    await scene.send(second, b"[2]")
    await scene.send(first, b"[1]")
    for _ in range(DEPTH - 1):
        await scene.send(first, None, state=JobState.NO_DECODER)
    other = LatestValue(second, GIVEN, b"[2]")
    assert await scene.values() == [LatestValue(first, GIVEN, b"[1]"), other]
    await scene.send(first, None, state=JobState.NO_DECODER)
    assert await scene.values() == [other]


async def test_what_is_too_much_at_once_is_left_out(scene: Scene) -> None:
    first, second, third = scene.device_ids
    for device_id in scene.device_ids:
        await scene.send(device_id, b'"12345678"')
    assert await scene.values(limit_bytes=25) == [
        LatestValue(first, GIVEN, b'"12345678"'),
        LatestValue(second, GIVEN, b'"12345678"'),
        LatestValue(third, ValueState.LEFT_OUT),
    ]


async def test_share_of_another_organization_is_not_found(scene: Scene) -> None:
    village = await scene.pipeline.database.write(lambda transaction: City(transaction, "Village"))
    for organization_id, share_id in (
        (village.organization_id, scene.city.share_id),
        (scene.city.organization_id, 99),
    ):
        with pytest.raises(NotFound):
            await _share(scene, organization_id, share_id)
    assert await _share(scene, village.organization_id, village.share_id) == Share(
        village.share_id, village.target_id, village.application_id
    )


async def _share(scene: Scene, organization_id: int, share_id: int) -> Share:
    return await scene.pipeline.database.read(
        lambda reader: open_data.share(reader, organization_id, share_id)
    )


async def test_dataset_keeps_its_id_and_its_stamps_while_it_stays_the_same(scene: Scene) -> None:
    city, later = scene.city, Author(None, NOW + timedelta(days=1))

    async def put(fields: DatasetFields | None) -> list[open_data.Dataset]:
        def unit(transaction: Transaction) -> list[open_data.Dataset]:
            open_data.put(transaction, city.target_id, fields, later)
            return list(open_data.catalog(transaction, city.organization_id).datasets)

        return await scene.pipeline.database.write(unit)

    (same,) = await put(DATASET)
    (changed,) = await put(replace(DATASET, name="Other", keywords=()))
    assert (same.id, same.fields, same.stamps.updated_by) == (city.share_id, DATASET, 7)
    assert (changed.id, changed.fields.name, changed.fields.keywords) == (same.id, "Other", ())
    assert changed.stamps.updated_at > same.stamps.updated_at
    assert await put(None) == []
    with pytest.raises(NotFound):
        await _share(scene, city.organization_id, city.share_id)


async def test_dataset_goes_with_its_data_target(scene: Scene) -> None:
    city = scene.city

    def unit(transaction: Transaction) -> open_data.Catalog:
        data_targets.remove(transaction, city.target_id)
        return open_data.catalog(transaction, city.organization_id)

    catalog = await scene.pipeline.database.write(unit)
    assert (catalog.organization_name, catalog.datasets) == ("Town", [])


async def test_published_device_is_decoded_and_delivered_to_other_targets_only(
    scene: Scene,
) -> None:
    first, second, _ = scene.device_ids

    def unit(transaction: Transaction) -> int:
        pushed = scene.city.target(transaction, "HTTP_PUSH")
        fields = ConnectionFields(
            payload_decoder_id=scene.decoder_id, data_target_id=pushed, device_ids=[second]
        )
        connections.create(transaction, fields, AUTHOR)
        return pushed

    pushed = await scene.pipeline.database.write(unit)
    plans = await PlanStore(scene.pipeline.database).load([DeviceId(first), DeviceId(second)])
    routes = {device_id: plan.routes for device_id, plan in plans.items()}
    assert [
        (r.decoder and r.decoder.decoder_id, r.target_ids) for r in routes[DeviceId(first)]
    ] == [(scene.decoder_id, ())]
    assert [r.target_ids for r in routes[DeviceId(second)]] == [(pushed,)]
