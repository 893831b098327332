"""The embedded engine: one SQLite file in WAL mode, one writer thread, a few reader threads.

Only this package imports `sqlite3`. Its entry is `storage.sqlite.engine.SqliteDatabase`.
"""
