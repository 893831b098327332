"""Where a database is, in words that may be shown: without user, password and options."""

from urllib.parse import unquote, urlsplit


def place_of(url: str) -> str:
    """Name the database of a URL that `open_database` takes; nothing secret is in it."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return unquote(parts.path[1:])
    # What stands before the last @ may be a password; libpq takes several hosts, with commas.
    hosts = parts.netloc.rpartition("@")[2] or "the local server"
    return f"PostgreSQL database {unquote(parts.path[1:]) or 'of its user'} at {hosts}"
