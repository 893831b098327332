"""What a thousand harvesters cost."""

import asyncio
from datetime import timedelta

import pytest

from protocols.errors import NotFound
from tests.support.api_client import START
from web.feed_cache import LIFETIME, FeedCache


class Source:
    """Makes a feed when it is let, and counts how often it was asked."""

    def __init__(self, body: bytes = b"[1]") -> None:
        self.body = body
        self.error: Exception | None = None
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bytes:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.body


async def test_feed_is_made_once_for_all_who_ask_at_once_and_shortly_after() -> None:
    cache, source = FeedCache(), Source()
    source.gate.clear()
    asking = [asyncio.create_task(cache.get("a", source, START)) for _ in range(1_000)]
    await asyncio.sleep(0)
    source.gate.set()
    feeds = await asyncio.gather(*asking)
    again = await cache.get("a", source, START + LIFETIME - timedelta(milliseconds=1))
    assert {id(feed) for feed in (*feeds, again)} == {id(again)}
    assert source.calls == 1


async def test_feed_is_made_anew_when_its_time_is_over_or_the_clock_was_set_back() -> None:
    cache, source = FeedCache(), Source()
    await cache.get("a", source, START)
    await cache.get("a", source, START + LIFETIME)
    await cache.get("a", source, START - timedelta(hours=1))
    assert source.calls == 3


async def test_feed_that_is_made_anew_and_the_same_has_not_changed() -> None:
    cache, source = FeedCache(), Source()
    first = await cache.get("a", source, START)
    same = await cache.get("a", source, START + LIFETIME)
    source.body = b"[2]"
    other = await cache.get("a", source, START + 2 * LIFETIME)
    assert (same.tag, same.changed_at) == (first.tag, START)
    assert (other.tag != first.tag, other.changed_at) == (True, START + 2 * LIFETIME)


async def test_failure_reaches_all_who_wait_and_is_not_remembered() -> None:
    cache, source = FeedCache(), Source()
    source.error = NotFound("There is no such organization.")
    source.gate.clear()
    asking = [asyncio.create_task(cache.get("a", source, START)) for _ in range(3)]
    await asyncio.sleep(0)
    source.gate.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotFound] * 3
    source.error = None
    assert (await cache.get("a", source, START)).body == b"[1]"


async def test_feed_that_is_gone_is_not_given_from_memory() -> None:
    cache, source = FeedCache(), Source()
    await cache.get("a", source, START)
    source.error = NotFound("It is not published any more.")
    with pytest.raises(NotFound):
        await cache.get("a", source, START + LIFETIME)
    with pytest.raises(NotFound):
        await cache.get("a", source, START)


async def test_who_goes_away_does_not_take_the_feed_from_the_others() -> None:
    cache, source = FeedCache(), Source()
    source.gate.clear()
    first, second = (asyncio.create_task(cache.get("a", source, START)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert (await second).body == b"[1]"
    assert source.calls == 1


async def test_memory_is_bounded_and_the_feed_nobody_asked_for_goes_first() -> None:
    cache = FeedCache(largest_bytes=2_000)
    sources = {name: Source(name.encode() * 900) for name in "abc"}
    for name in "abac":
        await cache.get(name, sources[name], START)
    for name in "acb":
        await cache.get(name, sources[name], START)
    assert {name: source.calls for name, source in sources.items()} == {"a": 1, "b": 2, "c": 1}


async def test_large_feed_is_compressed_once() -> None:
    cache = FeedCache()
    small = await cache.get("small", Source(b"[1]"), START)
    large = await cache.get("large", Source(b"[" + b"1," * 10_000 + b"1]"), START)
    assert small.compressed is None
    assert large.compressed is not None
    assert len(large.compressed) < 1_000
