"""How the deliveries of one data target are paced and ordered: the same settings for every kind.

Source: the names are Tingbro's own, in the manner of `/api/v1`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from protocols.errors import InvalidInput

MAX_IN_FLIGHT = 8
MAX_BATCH = 500


class Ordering(StrEnum):
    """What may overtake what."""

    PER_DEVICE = "per_device"
    """The messages of each device arrive in their order; devices do not wait for each other."""
    NONE = "none"
    """Nothing waits for anything."""
    STRICT = "strict"
    """One message at a time, in the order of the journal: whatever fails holds up all the others."""


class HeadOfLine(StrEnum):
    """What becomes of a message that fails for so long that others have waited enough."""

    STEP_ASIDE = "step_aside"
    """It goes on being tried, out of order, and lets the others pass."""
    BLOCK = "block"
    """The others wait until it has come to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """Read from a target's settings by `parse_policy`."""

    ordering: Ordering = Ordering.PER_DEVICE
    head_of_line: HeadOfLine = HeadOfLine.STEP_ASIDE
    head_of_line_max_s: float = 3600.0
    """For how long a message may hold up others by failing itself; an outage of the target is no
    message's own failure and does not count."""
    max_rate_per_s: float | None = None
    """Pushes a second; None for as many as there are."""
    max_in_flight: int = MAX_IN_FLIGHT
    """Pushes that may wait for an answer at once."""


POLICY_SETTINGS = (
    "ordering",
    "headOfLinePolicy",
    "headOfLineMaxSeconds",
    "maxRatePerSecond",
    "maxInFlight",
)


def parse_policy(
    settings: Mapping[str, object], insisted: Ordering | None = None
) -> DeliveryPolicy:
    """Read the policy from a target's `settings`; what is missing or None has its default.

    Args:
        insisted: the order that the target's kind demands. Where one does, what arrives late does harm,
            so that a failing message holds up its device unless the owner says otherwise.

    Raises:
        InvalidInput: one sentence for each setting that cannot be used.
    """
    problems: list[str] = []
    default = DeliveryPolicy()

    def choice(name: str, choices: type[StrEnum], otherwise: StrEnum) -> StrEnum:
        value = settings.get(name)
        if value is None:
            return otherwise
        if isinstance(value, str) and value in list(choices):
            return choices(value)
        problems.append(f"`{name}` must be one of {', '.join(choices)}.")
        return otherwise

    def number(name: str, low: float, high: float, check: Callable[[object], bool]) -> float | None:
        value = settings.get(name)
        if value is None:
            return None
        if check(value) and isinstance(value, int | float) and low <= value <= high:
            return float(value)
        problems.append(f"`{name}` must be a number from {low:g} to {high:g}.")
        return None

    ordering = Ordering(choice("ordering", Ordering, insisted or default.ordering))
    if insisted is not None and ordering is not insisted:
        problems.append(f"`ordering` can only be {insisted} for this type of data target.")
    head_of_line = default.head_of_line if insisted is None else HeadOfLine.BLOCK
    policy = DeliveryPolicy(
        ordering=ordering,
        head_of_line=HeadOfLine(choice("headOfLinePolicy", HeadOfLine, head_of_line)),
        head_of_line_max_s=number("headOfLineMaxSeconds", 1, 259_200, _is_number)
        or default.head_of_line_max_s,
        max_rate_per_s=number("maxRatePerSecond", 0.01, 100_000, _is_number),
        max_in_flight=int(number("maxInFlight", 1, 100, _is_whole) or default.max_in_flight),
    )
    if problems:
        raise InvalidInput(" ".join(problems))
    return policy


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
