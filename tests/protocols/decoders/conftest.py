"""A running pool, and requests in few words."""

from collections.abc import AsyncIterator

import pytest_asyncio

from protocols.decoders import DecoderPool
from tests.protocols.decoders.asking import quick_settings


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_pool() -> AsyncIterator[DecoderPool]:
    """One pool for a module's harmless scripts. Its tests must run on the module's loop."""
    pool = DecoderPool(quick_settings())
    await pool.start()
    yield pool
    await pool.stop(timeout_s=5)


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    """A pool of its own, for tests that kill workers or look at counters."""
    pool = DecoderPool(quick_settings())
    await pool.start()
    yield pool
    await pool.stop(timeout_s=5)
