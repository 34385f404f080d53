"""Servers that are silent, cut off, confused, or lie: everything ends in time, with one line that names nobody."""

import json
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt

from medfuse.cli.main import main
from medfuse.domain import Rejected
from medfuse.errors import ServerError
from medfuse.ingest.network.archive import Query, StudyRecord, open_archive, retrying
from medfuse.ingest.network.dimse import FIND_MODEL, GET_MODEL
from medfuse.ingest.network.fetch import FetchedStudy, FetchOptions, fetch_studies
from medfuse.ingest.network.servers import Server, server_at
from tests.network.doors import silence, speech
from tests.network.studies import HEAD, ROOT, instance

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # see tidy_sockets

STUDY = f"{ROOT}.70"
PATIENT = "PID-4711"
RECORD = StudyRecord(study_instance_uid=STUDY)


def described(address: str, **more: object) -> Server:
    server = server_at(address, {"timeout_s": 0.5, "connect_timeout_s": 0.5, "retries": 0, "backoff_s": 0, **more})
    assert server is not None
    return server


def http(body: bytes, kind: str = "application/dicom+json", status: str = "200 OK", more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body


def multipart(*parts: bytes, end: bytes = b"\r\n--cut--\r\n") -> bytes:
    whole = b"".join(b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts) + end
    return http(whole, 'multipart/related; type="application/dicom"; boundary=cut')


def listed(*uids: str, study: str = STUDY) -> bytes:
    """An answer to QIDO-RS with these instances."""
    items = [
        {
            "0020000D": {"vr": "UI", "Value": [study]},
            "0020000E": {"vr": "UI", "Value": [uid.rpartition(".")[0]]},
            "00080018": {"vr": "UI", "Value": [uid]},
            "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        }
        for uid in uids
    ]
    return http(json.dumps(items).encode())


def fetched(server: Server, directory: Path, record: StudyRecord = RECORD) -> FetchedStudy | Rejected:
    archive = open_archive(server)
    (outcome,) = fetch_studies(archive, server, [record], FetchOptions(directory=directory))
    archive.close()
    return outcome


def rejected(port: int, directory: Path, **more: object) -> Rejected:
    outcome = fetched(described(f"http://localhost:{port}/dicom-web", **more), directory)
    assert isinstance(outcome, Rejected)
    assert not (directory / STUDY).exists()
    return outcome


A, B = (instance(STUDY, 1, number) for number in (1, 2))
NOTHING = http(b"[]")


@pytest.mark.parametrize("address", ["http://localhost:{}/dicom-web", "ANY@localhost:{}"])
def test_a_server_that_never_answers_is_given_up(address: str) -> None:
    with silence() as port, pytest.raises(ServerError, match="in time") as failure:
        open_archive(described(address.format(port))).find_studies(Query(patient_id=PATIENT))
    assert failure.value.passing


@pytest.mark.parametrize("address", ["http://localhost:{}/dicom-web", "ANY@localhost:{}"])
def test_a_port_where_nobody_listens_is_said(address: str) -> None:
    with silence() as port:
        pass
    with pytest.raises(ServerError, match="cannot be reached"):
        open_archive(described(address.format(port))).find_studies(Query(patient_id=PATIENT))


@pytest.mark.parametrize("address", ["http://no-such-host.invalid/dicom-web", "ANY@no-such-host.invalid:104"])
def test_a_name_that_is_not_known_is_said(address: str) -> None:
    with pytest.raises(ServerError, match="no-such-host"):
        open_archive(described(address)).find_studies(Query(patient_id=PATIENT))


@pytest.mark.parametrize(
    ("answer", "words", "passing"),
    [
        (http(b"", status="401 Unauthorized"), "HTTP 401: it wants to know who asks", False),
        (http(b"", status="403 Forbidden"), "HTTP 403", False),
        (http(b"<html>", "text/html", status="404 Not Found"), "HTTP 404", False),
        (http(b"", status="503 Busy"), "HTTP 503: try again later", True),
        (http(b"<html>welcome", "text/html"), "no DICOMweb answer", True),
        (http(b'{"a": '), "no DICOMweb answer", True),
        (http(b'[{"0020000D": 5}]'), "no DICOMweb answer", True),
        (b"SSH-2.0-OpenSSH\r\n", "cannot be reached, or hung up", True),
        (b"", "cannot be reached, or hung up", True),
    ],
)
def test_an_answer_that_is_none_is_said_without_what_was_asked(answer: bytes, words: str, passing: bool) -> None:
    with speech(answer) as (port, heard), pytest.raises(ServerError, match=words) as failure:
        open_archive(described(f"http://localhost:{port}/x")).find_studies(Query(patient_id=PATIENT))
    assert PATIENT.encode() in heard[0]
    assert failure.value.passing is passing
    assert PATIENT not in "".join(traceback.format_exception(failure.value))


def test_a_busy_server_is_tried_again_after_the_time_that_it_asks_for() -> None:
    busy = http(b"", status="503 Busy", more="Retry-After: 7\r\n")
    pauses: list[float] = []
    with speech(busy, busy, NOTHING) as (port, heard):
        server = described(f"http://localhost:{port}/x", retries=2)
        assert retrying(server, pauses.append)(open_archive(server).find_studies, Query(modality="CT")) == []
    assert pauses == [7, 7]
    assert len(heard) == 3


def test_what_cannot_succeed_is_not_tried_again() -> None:
    with speech(http(b"", status="401 Unauthorized")) as (port, heard):
        server = described(f"http://localhost:{port}/x", retries=5)
        with pytest.raises(ServerError):
            retrying(server, lambda _: None)(open_archive(server).find_studies, Query(modality="CT"))
    assert len(heard) == 1


def test_a_server_that_ignores_the_search_and_the_page_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    items = [
        {"0020000D": {"vr": "UI", "Value": [uid]}, "00100020": {"vr": "LO", "Value": [patient]}}
        for uid, patient in ((STUDY, "A"), (HEAD, "B"), ("../../etc/passwd", "A"), (STUDY, "A"))
    ]
    with speech(http(json.dumps(items).encode())) as (port, heard):
        found = open_archive(described(f"http://localhost:{port}/x")).find_studies(Query(patient_id="A"))
    assert [record.study_instance_uid for record in found] == [STUDY]
    assert "2 studies that were not asked for" in caplog.text
    assert len(heard) == 2


def test_the_token_is_sent_and_never_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACS_TOKEN", "tok-en-123")
    options = ("--output", str(tmp_path), "--patient", PATIENT, "--token-env", "PACS_TOKEN", "--verbose")
    with speech(http(b"", status="403 Forbidden")) as (port, heard), pytest.raises(SystemExit) as ending:
        main(["fetch", f"http://localhost:{port}/x", *options])
    assert ending.value.code == 2
    assert b"Authorization: Bearer tok-en-123" in heard[0]
    said = "".join(capfd.readouterr())
    assert "HTTP 403" in said
    assert PATIENT not in said
    assert "tok-en" not in said


def test_the_token_stays_with_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_TOKEN", "tok-en-123")
    with speech(NOTHING) as (elsewhere, heard):
        away = http(b"", status="302 Found", more=f"Location: http://127.0.0.1:{elsewhere}/x\r\n")
        with speech(away) as (port, _):
            server = described(f"http://localhost:{port}/x", token_env="PACS_TOKEN")  # noqa: S106 (a name)
            open_archive(server).find_studies(Query(modality="CT"))
    assert heard
    assert all(b"tok-en" not in request for request in heard)


def test_a_part_that_is_no_dicom_is_no_study(tmp_path: Path) -> None:
    with speech(listed(A[0]), NOTHING, multipart(b"junk")) as (port, _):
        assert rejected(port, tmp_path).reason == "SERVER_UNREACHABLE"


def test_an_answer_that_breaks_off_is_no_study(tmp_path: Path) -> None:
    with speech(listed(A[0], B[0]), NOTHING, multipart(A[1], B[1])[:-300]) as (port, _):
        assert "broke off" in rejected(port, tmp_path).detail


def test_a_part_that_is_cut_while_its_message_is_whole_is_no_study(tmp_path: Path) -> None:
    uids, cut = listed(A[0], B[0]), B[1][:-100]
    with speech(uids, NOTHING, multipart(A[1], cut), uids, NOTHING, multipart(cut)) as (port, heard):
        assert rejected(port, tmp_path).reason == "TRUNCATED_FILE"
    assert f"/instances/{B[0]} ".encode() in heard[-1]
    assert [path.stem for path in (tmp_path / ".fetching").rglob("*.dcm")] == [A[0]]


def test_another_study_than_was_asked_for_is_no_study(tmp_path: Path) -> None:
    _, other = instance(f"{ROOT}.71", 1, 1)
    with speech(listed(A[0]), NOTHING, multipart(other)) as (port, _):
        assert rejected(port, tmp_path).reason == "WRONG_STUDY"
    assert not list(tmp_path.rglob("*.dcm"))


def test_one_uid_with_two_contents_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, other = instance(STUDY, 1, 1, PatientComments="another")
    uids = listed(A[0], B[0])
    with speech(uids, NOTHING, multipart(A[1], other, A[1]), uids, NOTHING, multipart(other)) as (port, _):
        assert rejected(port, tmp_path).reason == "DUPLICATE_INSTANCE"
    assert "DUPLICATE_INSTANCE 2" in caplog.text


def test_repeats_and_extras_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, extra = instance(STUDY, 1, 3)
    answers = [listed(A[0], B[0]), NOTHING, multipart(A[1], A[1], extra, B[1]), listed(A[0], B[0]), NOTHING]
    with speech(*answers) as (port, _):
        outcome = fetched(described(f"http://localhost:{port}/x"), tmp_path)
    assert isinstance(outcome, FetchedStudy)
    assert len(list((tmp_path / STUDY).rglob("*.dcm"))) == 2
    assert "NOT_ASKED_FOR 1" in caplog.text


def test_a_study_that_grows_while_it_is_fetched_is_fetched_whole(tmp_path: Path) -> None:
    both = listed(A[0], B[0])
    answers = [listed(A[0]), NOTHING, multipart(A[1]), both, NOTHING, multipart(B[1]), both, NOTHING]
    with speech(*answers) as (port, heard):
        outcome = fetched(described(f"http://localhost:{port}/x"), tmp_path)
    assert isinstance(outcome, FetchedStudy)
    assert outcome.n_new == 2
    assert len(heard) == len(answers)


def test_a_list_shorter_than_the_count_is_no_study(tmp_path: Path) -> None:
    record = StudyRecord(study_instance_uid=STUDY, n_instances=3)
    with speech(listed(A[0], B[0]), NOTHING) as (port, _):
        outcome = fetched(described(f"http://localhost:{port}/x"), tmp_path, record)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "INCOMPLETE_STUDY"
    assert "lists 2 instances; expected 3" in outcome.detail


def test_once_a_server_is_gone_the_rest_is_not_tried(tmp_path: Path) -> None:
    with silence() as port:
        pass
    server = described(f"http://localhost:{port}/x")
    records = [StudyRecord(study_instance_uid=f"{ROOT}.{n}") for n in range(80, 86)]
    outcomes = list(fetch_studies(open_archive(server), server, records, FetchOptions(directory=tmp_path)))
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Rejected)} == {"SERVER_UNREACHABLE"}
    assert sum("in a row" in outcome.detail for outcome in outcomes if isinstance(outcome, Rejected)) == 3


@contextmanager
def dimse_server(*models: str, **handlers: object) -> Iterator[int]:
    entity = AE(ae_title="LIAR")
    for model in models:
        entity.add_supported_context(model)
    bound = [(getattr(evt, f"EVT_C_{name.upper()}"), handler) for name, handler in handlers.items()]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    try:
        yield server.server_address[1]
    finally:
        entity.shutdown()


def answer(**values: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_limit_ends_a_search_that_has_more_to_say() -> None:
    told = threading.Event()

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(1, 30_000):
            yield 0xFF00, answer(StudyInstanceUID=f"{ROOT}.{number}")
        told.set()

    with dimse_server(FIND_MODEL, find=find) as port:
        found = open_archive(described(f"LIAR@localhost:{port}", timeout_s=5)).find_studies(Query(modality="CT"), 3)
    assert len(found) == 3
    assert not told.is_set()


@pytest.mark.parametrize(("status", "passing"), [(0xA700, True), (0xC001, True), (0xA900, False), (0x0122, False)])
def test_a_search_that_fails_says_its_status(status: int, passing: bool) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield status, None

    with dimse_server(FIND_MODEL, find=find) as port, pytest.raises(ServerError, match=f"0x{status:04X}") as failure:
        open_archive(described(f"LIAR@localhost:{port}", timeout_s=5)).find_studies(Query(patient_id=PATIENT))
    assert failure.value.passing is passing


def test_a_server_without_the_service_is_told_from_one_that_fails() -> None:
    with dimse_server(GET_MODEL) as port, pytest.raises(ServerError, match="does not offer C-FIND") as failure:
        open_archive(described(f"LIAR@localhost:{port}", timeout_s=5)).find_studies(Query(patient_id=PATIENT))
    assert not failure.value.passing


def test_what_nobody_asked_for_is_left_out_of_a_dimse_search_too(caplog: pytest.LogCaptureFixture) -> None:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, answer(StudyInstanceUID=STUDY, PatientID="A")
        yield 0xFF00, answer(StudyInstanceUID=HEAD, PatientID="B")
        yield 0xFF00, answer(StudyInstanceUID=STUDY, PatientID="A")

    with dimse_server(FIND_MODEL, find=find) as port:
        found = open_archive(described(f"LIAR@localhost:{port}", timeout_s=5)).find_studies(Query(patient_id="A"))
    assert [record.study_instance_uid for record in found] == [STUDY]
    assert "1 studies that were not asked for" in caplog.text
