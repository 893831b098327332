"""Who made and who last changed a row, and when."""

from dataclasses import dataclass
from datetime import datetime

from storage.database import Row
from storage.instants import microseconds


@dataclass(frozen=True, slots=True)
class Stamps:
    """The four columns at the end of most rows; times in microseconds UTC."""

    created_at: int
    updated_at: int
    created_by: int | None
    updated_by: int | None

    @classmethod
    def of(cls, row: Row) -> "Stamps":
        """Those of a row that was selected with all four columns."""
        return cls(row.created_at, row.updated_at, row.created_by, row.updated_by)


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, and when. `user_id` is None for a key and for the hub itself."""

    user_id: int | None
    at: datetime

    def creating(self) -> dict[str, object]:
        """The values of the stamps of a new row."""
        return {
            "created_at": microseconds(self.at),
            "created_by": self.user_id,
            **self.updating(),
        }

    def updating(self) -> dict[str, object]:
        """The values of the stamps of a changed row."""
        return {"updated_at": microseconds(self.at), "updated_by": self.user_id}
