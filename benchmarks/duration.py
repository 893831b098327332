"""How long and how often to measure: long enough to mean something, or just to see that it works."""

import os
from typing import Final

QUICK_VARIABLE: Final = "BENCH_QUICK"


def is_quick() -> bool:
    """Whether the figures only have to come out, not to mean anything."""
    return bool(os.environ.get(QUICK_VARIABLE))


def seconds(full_s: float) -> float:
    return min(full_s, 1.0) if is_quick() else full_s


def times(full: int, quick: int = 1) -> int:
    return quick if is_quick() else full
