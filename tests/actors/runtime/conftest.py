"""A running actor system on a virtual clock, and the promise that nothing of it is left behind."""

import logging
from collections.abc import AsyncIterator, Iterator

import pykka
import pytest
import structlog

from actors.runtime import ActorSystem, VirtualClock


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """These tests crash actors by the thousand: keep the tracebacks out of a failure's report."""
    wrapper = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=wrapper, cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def system(clock: VirtualClock) -> AsyncIterator[ActorSystem]:
    before = pykka.ActorRegistry.get_all()
    system = ActorSystem(clock=clock, seed=7)
    await system.start()
    yield system
    await system.stop(1.0)
    assert pykka.ActorRegistry.get_all() == before
