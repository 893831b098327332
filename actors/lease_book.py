"""What this process holds by lease, and until when it can prove that."""

from collections.abc import Callable, Collection

from actors.ownership import Tenure
from storage.leases import Granted, Lease


class LeaseBook:
    """Written by the `LeasedOwnership` alone; read, through tenures, by whoever acts."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: dict[Lease, float] = {}

    @property
    def leases(self) -> Collection[Lease]:
        """What is held as far as this process knows, proven at present or not."""
        return self._until.keys()

    @property
    def lapses_in_s(self) -> float | None:
        """Return when the first of them cannot be proved any more; None when nothing is held."""
        if not self._until:
            return None
        return min(self._until.values()) - self._monotonic()

    def renew(self, granted: Granted) -> None:
        """Hold exactly these from now on."""
        self._until = dict.fromkeys(granted.leases, granted.until_s)

    def add(self, granted: Granted) -> None:
        """Hold these too."""
        self._until.update(dict.fromkeys(granted.leases, granted.until_s))

    def drop(self, lease: Lease) -> None:
        self._until.pop(lease, None)

    def remaining_s(self, lease: Lease) -> float:
        """Return for how long this very lease can be proved; not positive when it cannot."""
        until_s = self._until.get(lease)
        return 0.0 if until_s is None else until_s - self._monotonic()


class LeasedTenure(Tenure):
    """One lease, as those see it who act under it."""

    def __init__(
        self,
        lease: Lease,
        book: LeaseBook,
        *,
        act_limit_s: float,
        on_refused: Callable[[Lease], None],
    ) -> None:
        self._lease = lease
        self._book = book
        self._act_limit_s = act_limit_s
        self._on_refused = on_refused

    @property
    def lease(self) -> Lease:
        return self._lease

    @property
    def act_limit_s(self) -> float:
        return self._act_limit_s

    @property
    def remaining_s(self) -> float:
        return self._book.remaining_s(self._lease)

    def may_begin(self) -> bool:
        return self._book.remaining_s(self._lease) >= self._act_limit_s

    def refuse(self) -> None:
        self._book.drop(self._lease)
        self._on_refused(self._lease)
