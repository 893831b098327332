"""A replay as one process asks another for it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from actors.messages import ReplayFailed


def order_body(replay: ReplayFailed) -> dict[str, object]:
    return {
        "decoderId": replay.decoder_id,
        "since": None if replay.since is None else replay.since.isoformat(),
        "until": None if replay.until is None else replay.until.isoformat(),
    }


def read_order(body: Mapping[str, Any]) -> ReplayFailed:
    return ReplayFailed(body["decoderId"], _instant(body["since"]), _instant(body["until"]))


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
