"""The review store: append-only, committed when it says so, safe with several writers, clear when it cannot write."""

import dataclasses
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event

from medfuse.domain import Review, ReviewKind, Verdict
from medfuse.errors import StorageError, UsageError
from medfuse.review import ReviewStore
from medfuse.review.audit import audit_reviews
from medfuse.review.store import FILE_NAME

WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from medfuse.domain import Review, Verdict
from medfuse.review import ReviewStore

store = ReviewStore(sys.argv[1])
name, count, threads = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def add(n):
    store.add(Review(study_instance_uid="1.2.3", subject=str(n), verdict=Verdict.ACCEPTED, reviewer=name,
                     created_at="2026-01-01T00:00:00+00:00"))
    print(n, flush=True)

with ThreadPoolExecutor(threads) as pool:
    list(pool.map(add, range(count)))
"""


def review(subject: str | None = None, verdict: Verdict = Verdict.ACCEPTED, **fields: str) -> Review:
    values = {"study_instance_uid": "1.2.3", "reviewer": "reader one", "created_at": "2026-01-01T00:00:00+00:00"}
    return Review(subject=subject, verdict=verdict, **(values | fields))


def writer(folder: Path, name: str, count: int, threads: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count), str(threads)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows(folder: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(folder / FILE_NAME)
    found = connection.execute("SELECT reviewer, subject FROM decisions").fetchall()
    connection.close()
    return found


def test_history_keeps_every_decision_in_order(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    first = review("nodule", Verdict.ACCEPTED, comment="<b>sharp</b> edge; it's 'real'")
    second = review("nodule", Verdict.REJECTED, model_weights_sha256="ab" * 32)
    store.add(first)
    store.add(second)
    store.add(review(study_instance_uid="9"))
    assert store.history("1.2.3") == (first, second)
    assert store.history("unknown") == ()


def test_a_review_is_given_back_with_its_place_in_the_chain(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    assert [store.add(review(subject)).number for subject in ("a", "b")] == [1, 2]
    assert [each.number for each in store.history("1.2.3")] == [1, 2]


def test_a_retried_save_is_kept_once(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    first = store.add(review("nodule"), key="k1")
    again = store.add(review("nodule", created_at="2026-01-01T00:00:09+00:00"), key="k1")
    assert (again, again.number) == (first, 1)
    assert store.add(review("nodule"), key="k2").number == 2
    assert len(store.history("1.2.3")) == 2


def test_a_key_is_of_one_decision_only(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    store.add(review("nodule"), key="k1")
    with pytest.raises(UsageError, match="belongs to another decision"):
        store.add(review("nodule", Verdict.REJECTED), key="k1")
    with pytest.raises(UsageError, match="at most 80"):
        store.add(review(), key="x" * 81)


def test_retries_of_many_threads_are_kept_once(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        numbers = set(pool.map(lambda n: store.add(review(str(n % 5)), key=f"k{n % 5}").number, range(40)))
    assert numbers == {1, 2, 3, 4, 5}


def test_text_that_no_database_keeps_is_kept_without_what_is_wrong(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    store.add(review(comment="a\0b\ud800c"))
    assert store.history("1.2.3")[0].comment == "ab?c"
    assert audit_reviews(store.database, tmp_path).is_whole


def test_a_withdrawal_undoes_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    first = store.add(review("nodule"))
    undo = Review(
        study_instance_uid="1.2.3",
        kind=ReviewKind.WITHDRAWAL,
        withdraws=first.number,
        reviewer="reader one",
        created_at="2026",
        subject="nodule",
    )
    store.add(undo)
    assert store.readings("1.2.3")["reader one"].decisions == {}
    for wrong in (undo, dataclasses.replace(undo, reviewer="reader two"), dataclasses.replace(undo, withdraws=77)):
        with pytest.raises(UsageError, match="nothing of this reader to withdraw"):
            store.add(wrong)


def test_a_new_store_finds_what_an_old_one_kept(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    store.add(review())
    store.close()
    assert ReviewStore(str(tmp_path / FILE_NAME)).history("1.2.3") == (review(),)


def test_rows_cannot_be_changed_or_removed_by_anyone(tmp_path: Path) -> None:
    ReviewStore(tmp_path).add(review())
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    for statement in ("UPDATE decisions SET verdict = 'REJECTED'", "DELETE FROM decisions"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()
    assert ReviewStore(tmp_path).history("1.2.3") == (review(),)


def test_sqlite_runs_in_wal_with_full_sync(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    with store.database.engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_several_processes_and_threads_lose_nothing(tmp_path: Path) -> None:
    writers = [writer(tmp_path, f"reader {n}", count=20, threads=3) for n in range(3)]
    for each in writers:
        assert each.communicate()[1] == ""
    assert audit_reviews(ReviewStore(tmp_path).database, tmp_path).is_whole
    assert sorted(rows(tmp_path)) == sorted((f"reader {n}", str(m)) for n in range(3) for m in range(20))


def test_one_store_serves_many_threads(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.add(review(str(n))), range(80)))
    assert len(store.readings("1.2.3")["reader one"].decisions) == 80
    assert audit_reviews(store.database, tmp_path).is_whole


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    process = writer(tmp_path, "reader", count=100_000)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    acknowledged += process.communicate()[0].split()[:-1]
    assert set(acknowledged) <= {subject for _, subject in rows(tmp_path)}


def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    ReviewStore(tmp_path).close()
    store = ReviewStore(f"sqlite:///file:{tmp_path / FILE_NAME}?mode=ro&uri=true")
    with pytest.raises(StorageError, match=r"not saved: attempt to write a readonly database"):
        store.add(review(comment="what the reader wrote"))
    assert store.history("1.2.3") == ()


def test_a_full_disk_says_so_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    event.listen(store.database.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1"))
    store.close()
    with pytest.raises(StorageError, match="full") as caught:
        store.add(review(comment="x" * 100_000))
    assert "xxx" not in str(caught.value)
    assert ReviewStore(tmp_path).history("1.2.3") == ()


def test_a_place_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open database file"):
        ReviewStore(tmp_path / "absent" / "reviews.sqlite")


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("this is a text file, long enough to be taken for a database header " * 20)
    with pytest.raises(StorageError, match="not a database"):
        ReviewStore(tmp_path)


@pytest.mark.parametrize("url", ["nonsense://place", "sqlite+nothing:///a.db"])
def test_an_unknown_database_is_wrong_use(url: str) -> None:
    with pytest.raises(UsageError, match="driver"):
        ReviewStore(url)
