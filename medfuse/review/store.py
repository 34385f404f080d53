"""Where reviews are kept: one append-only table, in SQLite beside the results or in another database by URL.

A review that `ReviewStore.add` returned from is on the disk: SQLite runs in WAL mode with `synchronous=FULL`, so that
a killed process or a power cut loses nothing that was acknowledged (https://www.sqlite.org/pragma.html#pragma_synchronous).
Rows are only ever added; triggers refuse UPDATE and DELETE, whoever asks. Writers queue for up to `BUSY_SECONDS`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from medfuse.domain import Review, Verdict
from medfuse.errors import StorageError, UsageError

FILE_NAME = "reviews.sqlite"
"""Name of the store in a folder of results."""

BUSY_SECONDS = 30
"""How long a writer waits for another one before it gives up."""

_METADATA = MetaData()
_REVIEWS = Table(
    "reviews",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("study_instance_uid", String(64), nullable=False),
    Column("subject", Text, nullable=True),
    Column("verdict", String(16), nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("model_weights_sha256", String(64), nullable=False),
    Column("created_at", String(40), nullable=False),
    sqlite_autoincrement=True,
)
_BY_STUDY = Index("reviews_by_study", _REVIEWS.c.study_instance_uid, _REVIEWS.c.id)
_REFUSALS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS reviews_no_{verb.lower()} BEFORE {verb} ON reviews "
    "BEGIN SELECT RAISE(ABORT, 'reviews are append-only'); END"
    for verb in ("UPDATE", "DELETE")
)


class ReviewStore:
    """Every decision of every reader, in the order of arrival.

    One store may be shared by threads; several processes may open the same one.

    Args:
        place: A folder of results (the store is `reviews.sqlite` in it), a SQLite file, or a database URL.

    Raises:
        StorageError: The place cannot be opened or written.
        UsageError: The URL names no database that SQLAlchemy knows.
    """

    def __init__(self, place: str | Path) -> None:
        url = _url(place)
        self.place = url.render_as_string(hide_password=True)
        self._engine = _engine(url)
        with self._writing() as connection:
            _create(connection)

    def add(self, review: Review) -> None:
        """Keep one review; returns only after it is committed.

        Raises:
            StorageError: It was not kept: the place is full, read-only, or busy for too long.
        """
        with self._writing() as connection:
            connection.execute(insert(_REVIEWS), _values(review))

    def history(self, study_instance_uid: str) -> tuple[Review, ...]:
        """The reviews of one study, oldest first."""
        query = select(_REVIEWS).where(_REVIEWS.c.study_instance_uid == study_instance_uid).order_by(_REVIEWS.c.id)
        with self._reading() as connection:
            return tuple(_review(row) for row in connection.execute(query))

    def latest(self, study_instance_uid: str) -> dict[str | None, Review]:
        """The standing review of each subject of one study; the key None is the whole study."""
        return {review.subject: review for review in self.history(study_instance_uid)}

    def latest_of_studies(self) -> dict[str, Review]:
        """The standing review of each study as a whole, by Study Instance UID, in one query."""
        newest = (
            select(func.max(_REVIEWS.c.id)).where(_REVIEWS.c.subject.is_(None)).group_by(_REVIEWS.c.study_instance_uid)
        )
        query = select(_REVIEWS).where(_REVIEWS.c.id.in_(newest))
        with self._reading() as connection:
            return {row.study_instance_uid: _review(row) for row in connection.execute(query)}

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block, or a `StorageError`."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"{self.place}: the review was not saved: {_cause(error)}") from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"{self.place}: the reviews cannot be read: {_cause(error)}") from error


def _url(place: str | Path) -> URL:
    """The database URL of a folder, a file or a URL."""
    if isinstance(place, str) and "://" in place:
        try:
            return make_url(place)
        except ArgumentError as error:
            raise UsageError(
                "the review store's URL cannot be read; expected e.g. postgresql://host/database"
            ) from error
    path = Path(place)
    return URL.create("sqlite", database=str(path / FILE_NAME if path.is_dir() else path))


def _engine(url: URL) -> Engine:
    is_sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS} if is_sqlite else {})
    except (ArgumentError, ImportError, SQLAlchemyError) as error:
        raise UsageError(f"no driver for the review store's database {url.drivername!r} is installed") from error
    if is_sqlite:
        event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _create(connection: Connection) -> None:
    connection.execute(CreateTable(_REVIEWS, if_not_exists=True))
    connection.execute(CreateIndex(_BY_STUDY, if_not_exists=True))
    if connection.dialect.name == "sqlite":
        for statement in _REFUSALS:
            connection.exec_driver_sql(statement)


def _values(review: Review) -> dict[str, str | None]:
    return {
        "study_instance_uid": review.study_instance_uid,
        "subject": review.subject,
        "verdict": review.verdict.value,
        "reviewer": review.reviewer,
        "comment": review.comment,
        "model_weights_sha256": review.model_weights_sha256,
        "created_at": review.created_at,
    }


def _review(row: Row[Any]) -> Review:
    fields = dict(row._mapping)
    del fields["id"]
    return Review(**fields | {"verdict": Verdict(fields["verdict"])})


def _cause(error: SQLAlchemyError) -> str:
    """The database's own words, without the statement and its values (they hold what the reader wrote)."""
    if isinstance(error, DBAPIError):
        return f"{error.orig}; check that the place is writable and has space"
    return type(error).__name__
