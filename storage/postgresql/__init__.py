"""The engine for many processes: a PostgreSQL server, one writing connection, a pool of reading ones.

Only this package imports `psycopg2` and `aiopg`. Its entry is `storage.postgresql.engine.PostgresqlDatabase`.
"""
