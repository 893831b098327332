"""Telling the process that pushes for a data target of deliveries that were fetched meanwhile."""

from collections.abc import Collection

import structlog

from actors import events
from actors.delivery.targets import target_name
from protocols.errors import TingbroError
from protocols.messages import DeliveryId, TargetId
from storage.process_orders import OrderKind, ProcessOrders

log = structlog.get_logger(__name__)


async def withdraw_elsewhere(
    orders: ProcessOrders, target_id: int, delivery_ids: Collection[DeliveryId]
) -> None:
    """Ask whoever holds the target, if anybody does.

    It only saves some pushes: what has been settled is never settled anew by an attempt that comes
    after. So it is not done over again when it fails.
    """
    body = {"targetId": target_id, "deliveryIds": list(delivery_ids)}
    name = target_name(TargetId(target_id))
    try:
        await orders.ask_holder(name, OrderKind.WITHDRAW_DELIVERIES, body)
    except TingbroError as error:
        log.info(events.WITHDRAWAL_FAIL, target_id=target_id, reason=str(error))
