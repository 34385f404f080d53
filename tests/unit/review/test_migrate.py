"""Databases of earlier versions: migrated when opened, with nothing lost; those of newer ones are refused."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from medfuse.domain import Review, ReviewKind, Shown, SubjectKind, Verdict
from medfuse.errors import UsageError
from medfuse.review.audit import audit_reviews
from medfuse.review.database import FILE_NAME, Database
from medfuse.review.migrate import HEAD
from medfuse.review.readings import CaseStatus
from medfuse.review.schema import METADATA
from medfuse.review.store import ReviewStore
from tests.unit.review.rooms import desk_of, handle_of, prediction, write_results

OLD_SCHEMA = """
CREATE TABLE reviews (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, study_instance_uid VARCHAR(64) NOT NULL,
 subject TEXT, verdict VARCHAR(16) NOT NULL, reviewer TEXT NOT NULL, comment TEXT NOT NULL,
 model_weights_sha256 VARCHAR(64) NOT NULL, created_at VARCHAR(40) NOT NULL);
CREATE INDEX reviews_by_study ON reviews (study_instance_uid, id);
CREATE TRIGGER reviews_no_update BEFORE UPDATE ON reviews BEGIN SELECT RAISE(ABORT, 'reviews are append-only'); END;
CREATE TRIGGER reviews_no_delete BEFORE DELETE ON reviews BEGIN SELECT RAISE(ABORT, 'reviews are append-only'); END;
"""
OLD_ROWS = [
    ("1.2.1", "lung_nodule", "REJECTED", "Dr. Old", "not a nodule; it's a vessel", "ab" * 32, "2025-12-01T10:00:00Z"),
    ("1.2.1", "nodule", "ACCEPTED", "Dr. Old", "", "ab" * 32, "2025-12-01T10:01:00Z"),
    ("1.2.1", None, "UNSURE", "Dr. Old", "späte Phase", "", "2025-12-01T10:02:00Z"),
    ("1.2.2", "lung_nodule", "ACCEPTED", "Dr. New", "", "", "2025-12-01T10:03:00Z"),
]


def old_database(folder: Path, rows: int = len(OLD_ROWS)) -> Path:
    path = folder / FILE_NAME
    connection = sqlite3.connect(path)
    connection.executescript(OLD_SCHEMA)
    names = "study_instance_uid, subject, verdict, reviewer, comment, model_weights_sha256, created_at"
    connection.executemany(f"INSERT INTO reviews ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", OLD_ROWS[:rows])  # noqa: S608
    connection.commit()
    connection.close()
    return path


def test_every_old_review_is_there_in_order_and_chained(tmp_path: Path) -> None:
    old_database(tmp_path)
    store = ReviewStore(tmp_path)
    kept = list(store.reviews())
    assert [
        (r.study_instance_uid, r.subject, r.verdict, r.reviewer, r.comment, r.model_weights_sha256, r.created_at)
        for r in kept
    ] == [(u, s, Verdict(v), *rest) for u, s, v, *rest in OLD_ROWS]
    assert {(r.kind, r.shown, r.seconds) for r in kept} == {(ReviewKind.DECISION, Shown.UNKNOWN, None)}
    assert [r.subject_kind for r in kept][1:3] == [SubjectKind.UNKNOWN, SubjectKind.STUDY]
    found = audit_reviews(store.database, tmp_path)
    assert (found.rows, found.is_whole) == (4, True)


def test_the_old_table_stays_as_it_was_and_takes_no_more_rows(tmp_path: Path) -> None:
    path = old_database(tmp_path)
    ReviewStore(tmp_path).close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM reviews").fetchone() == (4,)
    with pytest.raises(sqlite3.IntegrityError, match="moved to the table decisions"):
        connection.execute(
            "INSERT INTO reviews (study_instance_uid, verdict, reviewer, comment, model_weights_sha256, created_at) "
            "VALUES ('1', 'ACCEPTED', 'a', '', '', '')"
        )
    connection.close()


def test_old_reviews_stand_in_the_worklist_and_in_the_case(tmp_path: Path) -> None:
    write_results(tmp_path, prediction(1, 0.9), prediction(2, 0.2), prediction(3, 0.1))
    old_database(tmp_path)
    desk = desk_of(tmp_path)
    assert [row.status for row in desk.page().rows] == [CaseStatus.STARTED, CaseStatus.STARTED, CaseStatus.OPEN]
    reading = desk.case(handle_of(desk, 1)).readings["Dr. Old"]
    kinds = {subject.kind: review.verdict for subject, review in reading.decisions.items()}
    assert kinds == {
        SubjectKind.FINDING: Verdict.REJECTED,
        SubjectKind.SEGMENT: Verdict.ACCEPTED,
        SubjectKind.STUDY: Verdict.UNSURE,
    }


def test_an_empty_old_database_is_migrated_too(tmp_path: Path) -> None:
    old_database(tmp_path, rows=0)
    store = ReviewStore(tmp_path)
    added = store.add(Review(study_instance_uid="1", verdict=Verdict.ACCEPTED, reviewer="a", created_at="2026"))
    assert added.number == 1


def test_opened_by_many_at_once_it_is_migrated_once(tmp_path: Path) -> None:
    old_database(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: ReviewStore(tmp_path), range(6)))
    assert [len(list(store.reviews())) for store in stores] == [4] * 6


def test_the_migrations_make_the_schema_that_the_code_uses(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": lambda name, kind, _: name != "reviews"})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == HEAD


def test_head_is_the_newest_script() -> None:
    import medfuse.review.migrations

    assert ScriptDirectory(str(Path(medfuse.review.migrations.__file__).parent)).get_current_head() == HEAD


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    ReviewStore(tmp_path).close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(UsageError, match=r"newer medfuse \(schema 9999"):
        ReviewStore(tmp_path)
