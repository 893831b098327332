"""One line of the benchmark table: a measured figure beside what it must be compared with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """What one measurement came to.

    `ratio` compares `value` with `reference` measured in the same run (None when the figure stands
    alone, such as a size in bytes). `budget` is the wish in words ("at least 0.7"): it is printed,
    never asserted, because a shared machine would make a liar of either.
    """

    name: str
    value: float
    unit: str
    ratio: float | None
    reference: str
    budget: str
