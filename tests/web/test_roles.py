import os
import socket

import pytest

from protocols.errors import InvalidSettings
from web.roles import Role
from web.settings import read_settings

FLEET = {
    "TINGBRO_DATABASE_URL": "postgresql://hub:hunter2@db/tingbro",
    "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "TINGBRO_SECRET_KEY": "k" * 32,
}


def problems_of(role: Role, variables: dict[str, str]) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        read_settings(variables, role)
    return caught.value.problems


@pytest.mark.parametrize("role", [Role.WEB, Role.WORKER])
def test_processes_of_a_fleet_take_postgresql_and_kafka(role: Role) -> None:
    settings = read_settings(FLEET, role)
    assert settings.kafka is not None


def test_one_process_takes_either_database() -> None:
    read_settings({}, Role.UP)
    read_settings({"TINGBRO_DATABASE_URL": FLEET["TINGBRO_DATABASE_URL"]}, Role.UP)


def test_everything_that_web_lacks_is_said_at_once() -> None:
    problems = problems_of(Role.WEB, {"TINGBRO_HTTP_PORT": "no"})
    assert len(problems) == 4
    for name in ("HTTP_PORT", "DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "SECRET_KEY"):
        assert any(problem.startswith(f"TINGBRO_{name} ") for problem in problems), name


def test_migration_takes_a_database_alone_but_kafka_only_with_postgresql() -> None:
    read_settings({}, Role.MIGRATE)
    read_settings(FLEET, Role.MIGRATE)
    (problem,) = problems_of(Role.MIGRATE, {"TINGBRO_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"})
    assert problem.startswith("TINGBRO_DATABASE_URL must be a postgresql:// address")


def test_worker_needs_the_key_that_the_web_processes_have() -> None:
    (problem,) = problems_of(
        Role.WORKER, {name: value for name, value in FLEET.items() if "SECRET_KEY" not in name}
    )
    assert problem.startswith("TINGBRO_SECRET_KEY must be set for `tingbro worker`")


def test_value_that_is_wrong_is_not_also_called_missing() -> None:
    wrong = FLEET | {
        "TINGBRO_DATABASE_URL": "mysql://db",
        "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": "kafka",
        "TINGBRO_SECRET_KEY": "short",
    }
    assert len(problems_of(Role.WEB, wrong)) == 3


def test_one_process_with_kafka_is_told_to_run_web_and_worker() -> None:
    (problem,) = problems_of(Role.UP, FLEET)
    assert "`tingbro web` and `tingbro worker`" in problem


@pytest.mark.parametrize("role", [None, Role.UP])
def test_name_of_a_process_tells_host_and_pid_unless_given(role: Role | None) -> None:
    assert read_settings({}, role).process_name == f"{socket.gethostname()}-{os.getpid()}"
    named = {"TINGBRO_PROCESS_NAME": "worker-1.city"}
    assert read_settings(named, role).process_name == "worker-1.city"


@pytest.mark.parametrize("name", ["a b", "a/b", "ø", "x" * 101])
def test_name_of_a_process_with_other_characters_is_refused(name: str) -> None:
    (problem,) = problems_of(Role.UP, {"TINGBRO_PROCESS_NAME": name})
    assert problem.startswith("TINGBRO_PROCESS_NAME")
