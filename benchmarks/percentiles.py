"""Percentiles of measured durations."""

from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; `values` need not be sorted. NaN when there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    rank = round(percent / 100 * (len(ordered) - 1))
    return ordered[rank]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of pairs that were measured in turns."""
    return median(a / b for a, b in zip(numerators, denominators, strict=True))
