"""Reading and writing what people set up, one module per entity.

Every function takes a `Reader` or a `Transaction` and runs inside one unit of `Database.read` or
`Database.write`, so that a handler can check and change in one piece. Functions that look something
up for a caller take a `Scope` first: what lies outside it is not found, as if it did not exist.
Functions return rows as frozen dataclasses and raise `NotFound`, never None, for what is missing.
"""

from storage.repositories.paging import Page, PageOf
from storage.repositories.scope import EVERYWHERE, Scope
from storage.repositories.stamps import Author, Stamps

__all__ = ["EVERYWHERE", "Author", "Page", "PageOf", "Scope", "Stamps"]
