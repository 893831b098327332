"""Public feeds, made once for all who ask in the next seconds.

Anyone may fetch them, as often as they like. So a feed is made at most once in `LIFETIME`: whoever
asks meanwhile gets what is there, and whoever asks while it is being made waits for that (a thousand
harvesters cost one query). Few are made at once, and what is kept is bounded in bytes; the feed that
was not asked for the longest goes first. What there is not is not remembered: to look it up is cheap, and
it must not crowd out what there is.
"""

import asyncio
import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

LIFETIME: Final = timedelta(seconds=10)
_LARGEST_BYTES: Final = 64 * 1024 * 1024
_MOST_FEEDS: Final = 1_000
_BUILDS_AT_ONCE: Final = 2
# Below this, compressing costs more than sending.
_COMPRESS_FROM_BYTES: Final = 8 * 1024
# Most of the gain for a tenth of the time that the highest level takes.
_COMPRESS_LEVEL: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One feed as it was made. `changed_at`: since when this process knows it to be as it is."""

    body: bytes
    compressed: bytes | None
    """The same in gzip, where that is worth it."""
    tag: str
    made_at: datetime
    changed_at: datetime

    @property
    def size_bytes(self) -> int:
        return len(self.body) + len(self.compressed or b"")

    def is_fresh(self, now: datetime) -> bool:
        # Also after a clock was set back: a feed of the future is not believed.
        return timedelta(0) <= now - self.made_at < LIFETIME


class FeedCache:
    """The feeds of one process. Owned by the loop."""

    def __init__(self, *, largest_bytes: int = _LARGEST_BYTES) -> None:
        self._largest_bytes = largest_bytes
        self._feeds: OrderedDict[Hashable, Feed] = OrderedDict()
        self._size_bytes = 0
        self._builds: dict[Hashable, asyncio.Task[Feed]] = {}
        self._room = asyncio.Semaphore(_BUILDS_AT_ONCE)

    async def get(
        self, key: Hashable, build: Callable[[], Awaitable[bytes]], now: datetime
    ) -> Feed:
        """Return the feed `key`, made by `build` unless it is there and fresh at `now`.

        Raises: whatever `build` raises; nothing of it is remembered.
        """
        feed = self._feeds.get(key)
        if feed is not None and feed.is_fresh(now):
            self._feeds.move_to_end(key)
            return feed
        task = self._builds.get(key)
        if task is None:
            task = self._builds[key] = asyncio.create_task(self._make(key, build, now))
            task.add_done_callback(_look_at)
        # Whoever goes away does not take the feed from those who also wait for it.
        return await asyncio.shield(task)

    async def _make(
        self, key: Hashable, build: Callable[[], Awaitable[bytes]], now: datetime
    ) -> Feed:
        before = self._drop(key)
        try:
            async with self._room:
                body = await build()
                feed = await asyncio.to_thread(_made, body, now, before)
        finally:
            del self._builds[key]
        self._keep(key, feed)
        return feed

    def _keep(self, key: Hashable, feed: Feed) -> None:
        self._feeds[key] = feed
        self._size_bytes += feed.size_bytes
        while self._size_bytes > self._largest_bytes or len(self._feeds) > _MOST_FEEDS:
            self._drop(next(iter(self._feeds)))

    def _drop(self, key: Hashable) -> Feed | None:
        feed = self._feeds.pop(key, None)
        if feed is not None:
            self._size_bytes -= feed.size_bytes
        return feed


def _made(body: bytes, now: datetime, before: Feed | None) -> Feed:
    tag = hashlib.sha256(body).hexdigest()[:32]
    return Feed(
        body=body,
        compressed=(
            gzip.compress(body, _COMPRESS_LEVEL, mtime=0)
            if len(body) >= _COMPRESS_FROM_BYTES
            else None
        ),
        tag=tag,
        made_at=now,
        changed_at=before.changed_at if before is not None and before.tag == tag else now,
    )


def _look_at(task: asyncio.Task[Feed]) -> None:
    """Look at the outcome that perhaps nobody waits for, so that asyncio does not report it as lost."""
    if not task.cancelled():
        task.exception()
