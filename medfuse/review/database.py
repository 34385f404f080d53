"""The database under a review: SQLite beside the results by default, PostgreSQL by URL.

SQLite runs in WAL mode with `synchronous=FULL`, so that a killed process or a power cut loses nothing that was
committed (https://www.sqlite.org/pragma.html#pragma_synchronous). A writer takes the write lock at its first statement
(`BEGIN IMMEDIATE`; on PostgreSQL an advisory lock of the transaction), so that what it reads before it writes, the end
of the chain above all, is still true when it writes. Writers queue for up to `BUSY_SECONDS`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from medfuse.errors import MedfuseError, StorageError, UsageError
from medfuse.review.migrate import bring_up_to_date, is_up_to_date

FILE_NAME = "reviews.sqlite"
"""Name of the database in a folder of results."""

BUSY_SECONDS = 30
"""How long a writer waits for another one before it gives up."""

_LOCK = 0x6D656466757365
"""Key of the advisory lock: `medfuse` in ASCII."""

_WRITES = "medfuse_writes"
_POSTGRESQL = "postgresql"


class Database:
    """An opened database whose schema is that of this version.

    It may be shared by threads; several processes may open the same one.

    Args:
        place: A folder (the database is `reviews.sqlite` in it), a SQLite file, or a database URL.
        create: Whether a missing SQLite file is made; reading tools say no.

    Raises:
        StorageError: The place cannot be opened or written.
        UsageError: The URL names no database that SQLAlchemy knows, or nothing is there and `create` is off.
    """

    def __init__(self, place: str | Path, *, create: bool = True) -> None:
        url = _url(place)
        self.place = url.render_as_string(hide_password=True)
        if not create and (lost := _missing_file(url)):
            raise UsageError(f"{lost} does not exist; no decision was kept there yet")
        self.engine = _engine(url)
        try:
            self._bring_up_to_date()
        except MedfuseError:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        """Whether it is an SQLite file."""
        return self.engine.dialect.name == "sqlite"

    def _bring_up_to_date(self) -> None:
        with self.reading() as connection:
            known = is_up_to_date(connection)
        if not known:
            with self.writing() as connection:
                bring_up_to_date(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start and is committed at the end of the block.

        Raises:
            StorageError: It was not committed: the place is full, read-only, or busy for too long.
        """
        try:
            with self.engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
                if not self.is_sqlite:
                    connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"{self.place}: the review was not saved: {_cause(error)}") from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database.

        Raises:
            StorageError: It cannot be read.
        """
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"{self.place}: the reviews cannot be read: {_cause(error)}") from error

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def _url(place: str | Path) -> URL:
    """The database URL of a folder, a file or a URL; PostgreSQL goes through psycopg 3 where no driver is named."""
    if isinstance(place, str) and "://" in place:
        try:
            url = make_url(place)
        except ArgumentError as error:
            raise UsageError(
                "the review store's URL cannot be read; expected e.g. postgresql://host/database"
            ) from error
        return url.set(drivername="postgresql+psycopg") if url.drivername in {_POSTGRESQL, "postgres"} else url
    path = Path(place)
    return URL.create("sqlite", database=str(path / FILE_NAME if path.is_dir() else path))


def _missing_file(url: URL) -> Path | None:
    """The SQLite file of a URL where there is none; None where there is, and for other databases."""
    if url.get_backend_name() != "sqlite" or not url.database or url.query:
        return None
    path = Path(url.database)
    return None if path.is_file() else path


def _engine(url: URL) -> Engine:
    backend = url.get_backend_name()
    if backend not in {"sqlite", _POSTGRESQL}:
        raise UsageError(f"no driver for the review store's database {url.drivername!r} is known; use PostgreSQL")
    try:
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS} if backend == "sqlite" else {})
    except (ArgumentError, ImportError, SQLAlchemyError) as error:
        raise UsageError(
            f"no driver for the review store's database {url.drivername!r} is installed: pip install "
            "'medfuse[postgresql]'"
        ) from error
    if backend == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin` says BEGIN, not the driver
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _cause(error: SQLAlchemyError) -> str:
    """The database's own words, without the statement and its values (they hold what the reader wrote)."""
    if not isinstance(error, DBAPIError):
        return type(error).__name__
    diagnosis = getattr(error.orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error.orig).splitlines()[0]
    return f"{said}; check that the place is writable and has space, or choose another"
