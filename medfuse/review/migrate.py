"""Bring a database to the schema of this version, by Alembic's migrations in `medfuse/review/migrations`.

A database of an earlier version is migrated when it is opened, in one transaction under the write lock: it is whole
before and whole after, and two processes that open it at once migrate it once.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from medfuse.errors import UsageError

HEAD = "0002"
"""The newest migration."""

_KNOWN = ("0001", HEAD)
_DIRECTORY = Path(__file__).with_name("migrations")


def is_up_to_date(connection: Connection) -> bool:
    """Whether the schema is that of this version.

    Raises:
        UsageError: It is of a newer version.
    """
    if not inspect(connection).has_table("alembic_version"):
        return False
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in _KNOWN:
        raise UsageError(f"the reviews were kept by a newer medfuse (schema {revision}, known {HEAD}); update medfuse")
    return bool(revision == HEAD)


def bring_up_to_date(connection: Connection) -> None:
    """Run the migrations that are missing, in the open transaction of `connection`."""
    if is_up_to_date(connection):
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
