"""What a process shows the others of itself: its actors, and the partitions that it settles."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from storage.journal import PartitionStatus, offset_of

Tree = Mapping[str, Any]
"""An actor and its children, as `ActorInfo.to_json` gives them."""


class ProcessReport:
    """As it was read; what a process has not written, or another version wrote differently, is missing."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    @classmethod
    def read(cls, report: bytes | None) -> "ProcessReport":
        return cls(orjson.loads(report) if report else {})

    @classmethod
    def make(cls, tree: Tree, partitions: Sequence[PartitionStatus]) -> "ProcessReport":
        shown = [
            {"partition": each.partition, "cursor": offset_of(each.cursor), "lag": each.lag}
            for each in partitions
        ]
        return cls({"tree": tree, "partitions": shown})

    def write(self) -> bytes:
        return orjson.dumps(self._content)

    @property
    def tree(self) -> Tree | None:
        return self._content.get("tree")

    @property
    def partitions(self) -> Sequence[Mapping[str, int]]:
        partitions: Sequence[Mapping[str, int]] = self._content.get("partitions", ())
        return partitions

    @property
    def lags(self) -> dict[int, int]:
        return {each["partition"]: each["lag"] for each in self.partitions}


def below(prefix: str, actor: Tree) -> dict[str, Any]:
    """Return an actor and its children with paths that begin with `prefix`."""
    return {
        **actor,
        "path": prefix + actor["path"],
        "children": [below(prefix, child) for child in actor["children"]],
    }


def find(path: str, actor: Tree) -> Tree | None:
    """Return the actor of that path in a tree."""
    if actor["path"] == path:
        return actor
    for child in actor["children"]:
        if path == child["path"] or path.startswith(child["path"] + "/"):
            return find(path, child)
    return None
