"""Which organizations' things a caller may see or change."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, false, true


@dataclass(frozen=True, slots=True)
class Scope:
    """Organizations, or all of them when `organization_ids` is None."""

    organization_ids: frozenset[int] | None

    @property
    def is_empty(self) -> bool:
        return self.organization_ids is not None and not self.organization_ids

    def allows(self, organization_id: int | None) -> bool:
        """Whether it covers that organization; what belongs to none is everyone's to see only."""
        return self.organization_ids is None or organization_id in self.organization_ids

    def condition(self, organization_id: ColumnElement[int]) -> ColumnElement[bool]:
        """The condition for a WHERE clause over that column."""
        if self.organization_ids is None:
            return true()
        if not self.organization_ids:
            return false()
        return organization_id.in_(sorted(self.organization_ids))


EVERYWHERE = Scope(None)
