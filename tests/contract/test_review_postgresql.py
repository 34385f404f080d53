"""Reviews on PostgreSQL, where its server is installed: the same chain, the same refusals, nothing lost."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from medfuse.domain import Review, Verdict
from medfuse.errors import StorageError
from medfuse.review import CaseStatus, Order, ReviewStore, WorklistFilter, local_reader
from medfuse.review.audit import audit_reviews
from tests.unit.review.rooms import NODULE, desk_of, handle_of, opened, prediction, write_results

pytest.importorskip("psycopg", reason="needs psycopg: pip install 'medfuse[postgresql]'")
pytestmark = pytest.mark.slow
PROGRAMS = {name: shutil.which(name) for name in ("initdb", "pg_ctl")}
USER = "postgres"


def as_server_user(*command: str) -> None:
    """Run a program of the server, which refuses to run as root."""
    prefix = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if not (PROGRAMS["initdb"] and PROGRAMS["pg_ctl"]):
        pytest.skip("PostgreSQL's server is not installed")
    folder = Path(tempfile.mkdtemp(prefix="medfuse-pg-"))  # the server's user cannot enter pytest's own folders
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        data, port = str(folder / "data"), free_port()
        as_server_user(str(PROGRAMS["initdb"]), "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        as_server_user(str(PROGRAMS["pg_ctl"]), "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        as_server_user(str(PROGRAMS["pg_ctl"]), "-D", data, "-m", "immediate", "stop")
    except (subprocess.CalledProcessError, LookupError, PermissionError) as error:
        pytest.skip(f"PostgreSQL's server does not start here: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """The server, emptied."""
    yield server
    store = ReviewStore(server)
    with store.database.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    store.close()


def review(subject: str, reviewer: str = "Dr. Ames") -> Review:
    return Review(
        study_instance_uid="1.2.1",
        subject=subject,
        verdict=Verdict.ACCEPTED,
        reviewer=reviewer,
        seconds=1.25,
        created_at="2026-01-01T00:00:00+00:00",
        comment="späte Phase \U0001f642",
    )


def test_many_readers_lose_nothing_and_the_chain_is_whole(url: str, tmp_path: Path) -> None:
    stores = [ReviewStore(url) for _ in range(3)]

    def add(n: int) -> int:
        return stores[n % 3].add(review(str(n), f"reader {n % 3}"), key=f"key {n}").number

    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(add, range(60)))
        again = list(pool.map(add, range(60)))
    assert sorted(numbers) == list(range(1, 61))
    assert again == numbers
    found = audit_reviews(stores[0].database, tmp_path)
    assert (found.rows, found.is_whole) == (60, True)
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE decisions SET verdict = 'REJECTED'", "DELETE FROM decisions", "TRUNCATE decisions", "TRUNCATE reviews"],
)
def test_rows_cannot_be_changed_or_removed(url: str, statement: str) -> None:
    store = ReviewStore(url)
    store.add(review("nodule"))
    with pytest.raises(DBAPIError, match="append-only"), store.database.engine.begin() as connection:
        connection.execute(text(statement))
    assert len(store.history("1.2.1")) == 1
    store.close()


def test_a_changed_row_is_found_whatever_the_triggers_say(url: str, tmp_path: Path) -> None:
    store = ReviewStore(url)
    for subject in ("a", "b", "c"):
        store.add(review(subject))
    with store.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE decisions DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE decisions SET comment = 'x' WHERE number = 2"))
        connection.execute(text("ALTER TABLE decisions ENABLE TRIGGER USER"))
    found = audit_reviews(store.database, tmp_path)
    assert found.broken is not None
    assert found.broken.number == 2
    store.close()


def test_the_worklist_works_there_too(url: str, tmp_path: Path) -> None:
    folder = write_results(tmp_path / "results", prediction(1, 0.9), prediction(2, 0.2, unsure=True))
    desk = desk_of(folder, database=url)
    desk.decide(handle_of(desk, 1), NODULE, Verdict.REJECTED, value="ABSENT")
    desk.sign_off(handle_of(desk, 1))
    assert not (folder / "reviews.sqlite").exists()
    for order in Order:
        assert desk.page(order=order).total == 2
    shown = WorklistFilter(
        text="a1", finding="lung_nodule", at_least=0.5, unsure=False, mine=True, statuses=frozenset({CaseStatus.SIGNED})
    )
    assert [row.accession_number for row in desk.page(shown).rows] == ["A1"]
    other = opened(folder, database=url).desk(local_reader("Dr. Bell"))
    assert other.claim(handle_of(other, 2)).is_mine
    assert not desk.claim(handle_of(desk, 2)).is_mine
    assert desk.agreement(draws=20).pairs[0].observed == 0
    assert desk.choices().findings == ("lung_nodule", "effusion")
    assert desk.drift() == ()
    desk.room.close()
    other.room.close()


def test_a_server_that_does_not_answer_says_so_without_the_password() -> None:
    with pytest.raises(StorageError) as refused:
        ReviewStore(f"postgresql://somebody:secret@127.0.0.1:{free_port()}/reviews")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
