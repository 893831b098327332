"""About how much memory an actor's instance holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actors.runtime.actor import Actor

__all__ = ["estimate_size_bytes"]

# The cell, its entries in the directory and the clock face's float: measured with tracemalloc.
_CELL_BYTES: Final = 280
_MAX_ITEMS: Final = 64


def estimate_size_bytes(actor: Actor) -> int:
    """The instance, its attributes, and what those contain one level down.

    An estimate: what several actors share is counted for each, what lies deeper for none.
    """
    attributes = vars(actor)
    size_bytes = _CELL_BYTES + sys.getsizeof(actor) + sys.getsizeof(attributes)
    for name, value in attributes.items():
        if name != "_cell":
            size_bytes += sys.getsizeof(value) + _contents_bytes(value)
    return size_bytes


def _contents_bytes(value: Any) -> int:
    """What a container's items take, extrapolated from the first few."""
    if isinstance(value, dict):
        items = [part for pair in list(value.items())[:_MAX_ITEMS] for part in pair]
        count = 2 * len(value)
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = list(value)[:_MAX_ITEMS]
        count = len(value)
    else:
        return 0
    if not items:
        return 0
    return sum(map(sys.getsizeof, items)) * count // len(items)
