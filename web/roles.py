"""What each kind of process needs beyond settings that are right by themselves.

One machine runs `up`: everything in one process. Several processes that are one hub have to meet
somewhere: their state is in PostgreSQL and their journal in Kafka, and one key signs sessions and
seals secrets.
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
    MIGRATE = "migrate"


_IS_POSTGRESQL: Final = "postgresql://"
_KAFKA_IS_NOT_FOR_ONE: Final = (
    f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS is not for `tingbro up`, which keeps its journal in the "
    "database: run `tingbro web` and `tingbro worker`, or unset it."
)
_KAFKA_NEEDS_POSTGRESQL: Final = (
    f"{PREFIX}DATABASE_URL must be a postgresql:// address when {PREFIX}KAFKA_BOOTSTRAP_SERVERS is "
    "set: a hub that keeps its journal in Kafka keeps its state there."
)


def role_problems(role: Role, environment: Environment) -> list[str]:
    """One sentence for each thing that this role lacks; nothing about what is refused already."""
    has_kafka = environment.text("KAFKA_BOOTSTRAP_SERVERS") is not None
    if role is Role.UP:
        return [_KAFKA_IS_NOT_FOR_ONE] if has_kafka else []
    url = environment.text("DATABASE_URL") or ""
    is_shared = url.startswith(_IS_POSTGRESQL) or environment.is_refused("DATABASE_URL")
    if role is Role.MIGRATE:
        return [_KAFKA_NEEDS_POSTGRESQL] if has_kafka and not is_shared else []
    problems = []
    if not is_shared:
        problems.append(
            f"{PREFIX}DATABASE_URL must be a postgresql:// address for `tingbro {role}`: its "
            "processes share their state there. With SQLite run `tingbro up`, which is all in one."
        )
    if not has_kafka:
        problems.append(
            f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS must be set for `tingbro {role}`: messages go from "
            "the web processes to the workers through Kafka. Without Kafka run `tingbro up`."
        )
    if environment.text("SECRET_KEY") is None:
        problems.append(
            f"{PREFIX}SECRET_KEY must be set for `tingbro {role}`, the same for every process of the "
            "hub: a session that one opens has to be good at every other, and so has a secret that "
            "one seals."
        )
    return problems
