"""Settling entries of a journal inside the transaction that writes their results.

A process settles a partition under a *claim*: an epoch of the partition's cursor row. Every
transaction checks the epochs of the partitions that it touches, so that what a process writes that has lost a
partition without knowing it is refused whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.database import Transaction
from storage.message_result import MessageResult


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling came to: the cursors as stored, and how much left the journal."""

    cursors: Mapping[int, int]
    entries: int
    size_bytes: int


class Settling(Protocol):
    """How one kind of journal settles. Its methods run inside write units, maybe more than once."""

    def partition(self, result: MessageResult) -> int | None:
        """Return the partition that must be claimed for writing `result`, None if there is none."""

    def begin(
        self,
        transaction: Transaction,
        results: Sequence[MessageResult],
        cursors: Mapping[int, int],
    ) -> None:
        """Make sure that this process may write these results and move these cursors.

        Raises:
            ClaimLost: some partitions belong to another process by now; write nothing for them.
        """

    def without_duplicates(
        self, transaction: Transaction, live: Sequence[MessageResult]
    ) -> Sequence[MessageResult]:
        """Leave out messages whose source key an earlier message of their device has used."""

    def finish(
        self,
        transaction: Transaction,
        live: Sequence[MessageResult],
        kept: Sequence[MessageResult],
        cursors: Mapping[int, int],
    ) -> Settled:
        """Settle the entries of `live`, of which `kept` were written now, and move the cursors that far.

        Raises:
            ClaimLost: as `begin`, where that is found out only now.
        """
