"""Leases while PostgreSQL is away."""

import asyncio
import time

from storage import open_database
from storage.leases import LeaseSettings, LeaseStore
from tests.support.postgresql import PostgresqlServer

TTL_S = 13.0


async def test_lease_is_counted_from_the_statement_that_succeeded_and_not_from_the_call(
    own_postgresql: PostgresqlServer,
) -> None:
    database = open_database(own_postgresql.url(own_postgresql.create_database()))
    await database.open()
    store = LeaseStore(database, "a", settings=LeaseSettings(ttl_s=TTL_S))
    held = await store.claim(["target/1"], limit=1)
    own_postgresql.kill()
    renewing = asyncio.create_task(store.renew())
    done, _ = await asyncio.wait((renewing,), timeout=0.5)
    assert not done
    back_s = time.monotonic()
    own_postgresql.start()

    async with asyncio.timeout(30):
        renewed = await renewing

    assert renewed.leases == held.leases
    assert back_s + TTL_S - 1 < renewed.until_s < time.monotonic() + TTL_S
    await database.close()
