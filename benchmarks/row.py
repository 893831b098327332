"""One line of the benchmark table."""

from dataclasses import dataclass

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure and, where there is one, its ratio to a reference measured in the same run."""

    name: str
    value: float
    unit: str
    ratio: float | None
    reference: str
    budget: str
