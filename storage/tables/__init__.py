"""The tables of the hub, described once for every engine.

Rules: only Integer, BigInteger, Text, LargeBinary, Boolean, Float and Uuid(as_uuid=False) columns,
because statements are compiled once per dialect and then run by the driver itself, so SQLAlchemy's
type processors never see a value. Instants are integer microseconds UTC (`*_at`), JSON is text or
bytes that the code dumps itself. For the same reason Python-side column defaults have no effect: give every
value, or use `server_default`. SQLite hands booleans back as 0 and 1.

A module of this package that defines tables is imported by `load_tables()`, so that `metadata`
holds all of them; migrations are written by hand and a test compares both.
"""

import importlib
import pkgutil

from sqlalchemy import MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def load_tables() -> MetaData:
    """Import every module of tables there is and return the one metadata, complete."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return metadata
