"""The plans of the devices that talk, least recently used ones forgotten."""

from collections import OrderedDict
from collections.abc import Collection

from protocols.messages import DeviceId
from storage.plans import DevicePlan, PlanStore

# A plan with one decoder and one target takes about 1 kB beside the shared decoder source.
CAPACITY = 50_000


class PlanBook:
    """A cache in front of `PlanStore`; owned by the router, not thread-safe."""

    def __init__(self, store: PlanStore, *, capacity: int = CAPACITY) -> None:
        self._store = store
        self._capacity = capacity
        self._plans: OrderedDict[DeviceId, DevicePlan] = OrderedDict()
        self._version = 0

    def get(self, device_id: DeviceId) -> DevicePlan | None:
        """Return the plan if it is known and true, else None: then `load` it."""
        plan = self._plans.get(device_id)
        if plan is not None:
            self._plans.move_to_end(device_id)
        return plan

    def forget(self, device_id: DeviceId | None) -> None:
        """Forget one device's plan, or all of them: what they were made of has changed."""
        self._version += 1
        if device_id is None:
            self._plans.clear()
        else:
            self._plans.pop(device_id, None)

    async def load(self, device_ids: Collection[DeviceId]) -> dict[DeviceId, DevicePlan]:
        """Return the plan of each device, reading in one query those that are not known.

        A plan that was read while the configuration changed is returned but not remembered.
        """
        plans = {d: plan for d in device_ids if (plan := self._plans.get(d)) is not None}
        missing = [device_id for device_id in device_ids if device_id not in plans]
        if missing:
            version = self._version
            read = await self._store.load(missing)
            plans |= read
            if version == self._version:
                self._remember(read)
        return plans

    def _remember(self, plans: dict[DeviceId, DevicePlan]) -> None:
        self._plans |= plans
        while len(self._plans) > self._capacity:
            self._plans.popitem(last=False)
