"""What must be in order before a process takes traffic."""

from typing import NamedTuple

from storage.database import DatabaseHealth


class Readiness(NamedTuple):
    """One such thing."""

    name: str
    is_ok: bool
    detail: str

    @classmethod
    def of_hub(cls, *, is_started: bool) -> "Readiness":
        return cls("hub", is_started, "started" if is_started else "starting or stopping")

    @classmethod
    def of_storage(cls, health: DatabaseHealth) -> "Readiness":
        return cls("storage", health.is_ok, health.reason or "commits reach the disk")
