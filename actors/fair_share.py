"""How what must exist once is divided among the processes of a hub.

Everyone computes the same share, from the same rows, and moves towards it by itself: who has too
much lets go in order, who has too little takes what is free. The shares together are at least as
many as the things, so that nothing is left over.
"""

from collections.abc import Collection
from dataclasses import dataclass

from storage.leases import LeaseSurvey


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What one process should do next; the three lists have no name in common."""

    forget: list[str]
    """Held and not wanted any more: put down, and remove."""
    hand_over: list[str]
    """Held beyond the share: put down, and release."""
    claim: list[str]
    """Free; to be claimed, up to `room` of them."""
    room: int


def divide(*, wanted: Collection[str], held: Collection[str], survey: LeaseSurvey) -> Division:
    """Return what a process that holds `held` should do, those not counted that it is handing over."""
    share = -(-len(wanted) // len(survey.workers))
    kept = sorted(name for name in held if name in wanted)
    free = [name for name in wanted if name not in held and _is_free(name, survey)]
    return Division(
        forget=sorted(name for name in held if name not in wanted),
        hand_over=kept[share:],
        claim=sorted(free),
        room=max(0, share - len(kept)),
    )


def next_expiry_s(wanted: Collection[str], survey: LeaseSurvey, holder: str) -> float | None:
    """Return when the first lease of another process runs out, unless that renews it before."""
    remaining = (
        row.remaining_s
        for name in wanted
        if (row := survey.rows.get(name)) is not None and row.holder != holder and not row.is_free
    )
    return min(remaining, default=None)


def _is_free(name: str, survey: LeaseSurvey) -> bool:
    row = survey.rows.get(name)
    return row is None or row.is_free
