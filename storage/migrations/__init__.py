"""The schema's versions, the same for every engine.

A version is a file `versions/NNNN_what.py` with `revision = "NNNN"` and explicit Alembic
operations. Versions are a line without branches, numbered without gaps. Alembic is imported only when there is
something to migrate, since it costs a start 0.1 s.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_DIRECTORY = Path(__file__).parent


def head_revision() -> str:
    """Return the newest version that this program knows."""
    return max(path.name[:4] for path in (_DIRECTORY / "versions").glob("[0-9]*_*.py"))


def is_newer(revision: str | None) -> bool:
    """Say whether `revision`, read from a database, is beyond what this program knows."""
    return revision is not None and revision > head_revision()


def upgrade(connection: "Connection") -> None:
    """Run every operation that the database on `connection` lacks, in the caller's transaction."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY))
    script = ScriptDirectory.from_config(config)
    environment = EnvironmentContext(
        config, script, fn=lambda revision, _context: script._upgrade_revs("head", revision)
    )
    with environment:
        environment.configure(connection=connection, transactional_ddl=False)
        environment.run_migrations()
