"""What is kept: database engines, tables and migrations, and the stores built on them.

Everything here runs on the event loop and hands its work to the engine's threads; nothing here
knows actors. `open_database(url)` gives the engine, whose contract is `storage.database`.
"""

from storage.database import Database
from storage.engines import open_database

__all__ = ["Database", "open_database"]
