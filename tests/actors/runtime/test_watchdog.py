import asyncio
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest
import structlog

from actors.runtime import Actor, ActorSystem, ChildSpec
from actors.runtime import system as system_module


async def test_the_stack_of_a_handler_that_blocks_is_logged_while_it_still_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries: list[MutableMapping[str, Any]] = []
    logged = threading.Event()

    def keep(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Mapping[str, Any]:
        entries.append(entry)
        if entry["event"] == "actor.loop.stall":
            logged.set()
        raise structlog.DropEvent

    class Blocking(Actor):
        def on_receive(self, message: Any) -> bool:
            return logged.wait(10)

    monkeypatch.setattr(system_module, "STALL_S", 0.02)
    structlog.configure(processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(0))
    system = ActorSystem()
    await system.start()
    ref = system.spawn("/hub", ChildSpec("blocking", Blocking))
    assert await ref.ask("block until you are seen") is True
    await asyncio.wait_for(system.stop(1.0), 5)
    stalls = [entry for entry in entries if entry["event"] == "actor.loop.stall"]
    assert len(stalls) == 1
    assert stalls[0]["actor"] == "/hub/blocking"
    assert any("test_watchdog.py" in frame for frame in stalls[0]["stack"])
