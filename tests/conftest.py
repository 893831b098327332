"""The servers that a test run needs beside the hub: fetched once, started once."""

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from tests.support import kafka_jars
from tests.support.kafka import KafkaBroker
from tests.support.kafka_doors import KafkaDoors
from tests.support.lent_databases import LentDatabases
from tests.support.postgresql import PostgresqlMissing, PostgresqlServer


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what is missing before the first test, outside of any test's time limit."""
    names = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if names.isdisjoint({"kafka_broker", "own_kafka_broker"}) or session.config.option.collectonly:
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    announce: Callable[[str], None] = terminal.write_line if terminal else lambda _: None
    try:
        kafka_jars.ensure(announce)
    except kafka_jars.KafkaNotToBeHad as error:
        if os.environ.get("CI") == "true":
            raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def kafka_doors(tmp_path_factory: pytest.TempPathFactory) -> KafkaDoors:
    """The ways into `kafka_broker` that ask for something."""
    return KafkaDoors(tmp_path_factory.mktemp("doors"))


@pytest.fixture(scope="session")
def kafka_broker(
    tmp_path_factory: pytest.TempPathFactory, kafka_doors: KafkaDoors
) -> Iterator[KafkaBroker]:
    """A broker for tests that leave it running and use topics and groups of their own."""
    with new_kafka_broker(tmp_path_factory, kafka_doors) as broker:
        yield broker


@pytest.fixture(scope="session")
def second_kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with new_kafka_broker(tmp_path_factory) as broker:
        yield broker


@pytest.fixture
def own_kafka_broker(second_kafka_broker: KafkaBroker) -> KafkaBroker:
    """A broker of another cluster that the test may kill, pause and start again."""
    if second_kafka_broker.is_running:
        second_kafka_broker.resume()
    else:
        second_kafka_broker.start()
    second_kafka_broker.wait_until_ready()
    return second_kafka_broker


def new_kafka_broker(
    tmp_path_factory: pytest.TempPathFactory, doors: KafkaDoors | None = None
) -> KafkaBroker:
    try:
        jars = kafka_jars.ensure(lambda _: None)
    except kafka_jars.KafkaNotToBeHad as error:
        _do_without(str(error))
    return KafkaBroker(jars, tmp_path_factory.mktemp("kafka"), doors=doors)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """One PostgreSQL server for the whole run. Whoever stops or kills it uses `own_postgresql`."""
    with _server() as server:
        yield server


@pytest.fixture
def own_postgresql() -> Iterator[PostgresqlServer]:
    """A server for one test alone, to stop, kill and freeze."""
    with _server() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_databases(postgresql: PostgresqlServer) -> LentDatabases:
    return LentDatabases(postgresql)


@pytest.fixture
def postgresql_url(
    postgresql: PostgresqlServer, postgresql_databases: LentDatabases
) -> Iterator[str]:
    """A database with the newest schema and nothing in it, for one test."""
    name = postgresql_databases.lend()
    yield postgresql.url(name)
    postgresql_databases.take_back(name)


def _server() -> PostgresqlServer:
    try:
        return PostgresqlServer()
    except PostgresqlMissing as missing:
        _do_without(str(missing))


def _do_without(reason: str) -> NoReturn:
    """Skip the test and say why; where every change is checked nothing is skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} No test is skipped here.")
    pytest.skip(reason)
