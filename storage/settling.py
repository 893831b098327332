"""Settling entries of a journal inside the transaction that writes their results.

A process settles a partition under a *claim*: an epoch of the partition's cursor row. Every
transaction checks the epochs of the partitions that it touches, so that what a process writes that has lost a
partition without knowing it is refused whole.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.database import Transaction
from storage.message_result import MessageResult


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling came to: the cursors as stored, and what left the journal."""

    cursors: Mapping[int, int]
    entries: int
    size_bytes: int


class Settling(Protocol):
    """How one kind of journal settles. Its methods run inside write units, maybe more than once."""

    def begin(self, transaction: Transaction, partitions: Collection[int]) -> None:
        """Make sure that these partitions are claimed by this process.

        Raises:
            ClaimLost: some are not; nothing may be written for them.
        """

    def without_duplicates(
        self, transaction: Transaction, live: Sequence[MessageResult]
    ) -> Sequence[MessageResult]:
        """Leave out messages whose source key an earlier message of their device has used."""

    def finish(
        self,
        transaction: Transaction,
        live: Sequence[MessageResult],
        accepted: Sequence[MessageResult],
        cursors: Mapping[int, int],
    ) -> Settled:
        """Settle the entries of `live`, of which `accepted` were new, and move the cursors that far."""
