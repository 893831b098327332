"""What each kind of process needs beyond settings that are right by themselves.

One machine runs `up`: everything in one process. Several processes that are one hub have to meet
somewhere: their state is in PostgreSQL and their journal in Kafka, and sessions are signed with
one key.
"""

from enum import StrEnum
from typing import Final

from web.environment import Environment
from web.variables import PREFIX


class Role(StrEnum):
    """A kind of process; the value is its command."""

    UP = "up"
    WEB = "web"
    WORKER = "worker"


_IS_POSTGRESQL: Final = "postgresql://"


def role_problems(role: Role, environment: Environment) -> list[str]:
    """One sentence for each thing that this role lacks; nothing about what is refused already."""
    if role is Role.UP:
        return _of_one_process(environment)
    problems = []
    url = environment.text("DATABASE_URL") or ""
    if not url.startswith(_IS_POSTGRESQL) and not environment.is_refused("DATABASE_URL"):
        problems.append(
            f"{PREFIX}DATABASE_URL must be a postgresql:// address for `tingbro {role}`: its "
            "processes share their state there. With SQLite run `tingbro up`, which is all in one."
        )
    if environment.text("KAFKA_BOOTSTRAP_SERVERS") is None:
        problems.append(
            f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS must be set for `tingbro {role}`: messages go from "
            "the web processes to the workers through Kafka. Without Kafka run `tingbro up`."
        )
    if role is Role.WEB and environment.text("SECRET_KEY") is None:
        problems.append(
            f"{PREFIX}SECRET_KEY must be set for `tingbro web`: a session that one web process "
            "opens has to be good at every other."
        )
    return problems


def _of_one_process(environment: Environment) -> list[str]:
    if environment.text("KAFKA_BOOTSTRAP_SERVERS") is None:
        return []
    return [
        f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS is not for `tingbro up`, which keeps its journal in the "
        "database: run `tingbro web` and `tingbro worker`, or unset it."
    ]
