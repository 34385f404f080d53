"""`medfuse send` against a real Orthanc, by STOW-RS and by C-STORE, and against servers that misbehave."""

import json
import socket
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests

from medfuse.cli.main import main
from medfuse.domain import Volume
from medfuse.errors import UsageError
from medfuse.ingest.network.servers import Server, Tls, server_at
from medfuse.outputs import OUTPUTS, result, write_study_outputs
from medfuse.outputs.sending import SENT_FILE, SendStatus, results_to_send, send_results
from tests.network.conftest import Orthanc, free_port
from tests.network.doors import speech
from tests.unit.outputs import cases

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # see tidy_sockets

PROTOCOLS = ("dicomweb", "dimse")
NAMES = ["key-slice-1.dcm", "key-slice-2.dcm", "result-pdf.dcm", "seg.dcm", "sr.dcm"]
S, A, F, N = SendStatus.SENT, SendStatus.ALREADY, SendStatus.FAILED, SendStatus.NOT_TRIED


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the results of one study."""
    geometry = cases.grid(cases.oblique())
    monkeypatch.setattr(result, "source_datasets", lambda _: cases.classic_series(geometry))
    scored = cases.scored(segmentation=cases.label_map(geometry))
    volume = Volume(voxels=np.zeros(geometry.shape, dtype=np.float32), geometry=geometry)
    write_study_outputs(scored, cases.study(), tmp_path / "results", OUTPUTS.names(), volume=volume)
    return tmp_path / "results"


def described(orthanc: Orthanc, protocol: str, **more: object) -> Server:
    address = orthanc.url if protocol == "dicomweb" else orthanc.address
    server = server_at(address, {"timeout_s": 20, "retries": 1, "backoff_s": 0, **more})
    assert server is not None
    return server


def sent(directory: Path, server: Server, **options: bool) -> list[SendStatus]:
    found, _ = results_to_send(directory)
    return [outcome.status for outcome in send_results(found, server, directory, sleep=lambda _: None, **options)]


def stored(orthanc: Orthanc, uid: str) -> bytes | None:
    found = requests.post(f"{orthanc.root}/tools/lookup", data=uid, timeout=20).json()
    if not found:
        return None
    return requests.get(f"{orthanc.root}/instances/{found[0]['ID']}/file", timeout=20).content


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_object_arrives_as_it_was_written_and_once(results: Path, own_orthanc: Orthanc, protocol: str) -> None:
    server = described(own_orthanc, protocol)
    assert sent(results, server) == [S] * 5
    for name in NAMES:
        written = pydicom.dcmread(results / cases.STUDY_UID / name)
        data = stored(own_orthanc, written.SOPInstanceUID)
        assert data is not None, name
        there = pydicom.dcmread(BytesIO(data))
        assert there == written, name
        assert there.file_meta.TransferSyntaxUID == written.file_meta.TransferSyntaxUID
    assert sent(results, server) == [A] * 5
    assert sent(results, server, again=True) == [S] * 5
    assert len(requests.get(f"{own_orthanc.root}/studies", timeout=20).json()) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bad_object_stops_none(results: Path, own_orthanc: Orthanc, protocol: str) -> None:
    folder = results / cases.STUDY_UID
    seg = (folder / "seg.dcm").read_bytes()
    (folder / "seg.dcm").write_bytes(seg[:-20])
    (folder / "a.dcm").write_bytes(b"no DICOM")
    (folder / ".hidden.dcm").write_bytes(seg)
    outcomes = sent(results, described(own_orthanc, protocol))
    assert outcomes == [F, S, S, S, F, S]
    (folder / "seg.dcm").write_bytes(seg)
    assert sent(results, described(own_orthanc, protocol)) == [F, A, A, A, S, A]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_goes_on_where_it_was_stopped(results: Path, own_orthanc: Orthanc, protocol: str) -> None:
    server = described(own_orthanc, protocol)
    found, _ = results_to_send(results)
    outcomes = send_results(found, server, results)
    assert [next(outcomes).status for _ in range(2)] == [S, S]
    outcomes.close()  # type: ignore[attr-defined]
    note = results / SENT_FILE
    note.write_bytes(note.read_bytes()[:-9])  # and the last line was torn
    assert sent(results, server) == [A, S, S, S, S]
    entries = [json.loads(line) for line in note.read_text().splitlines() if line.endswith("}")]
    assert len(entries) == 5
    assert {entry["to"] for entry in entries} == {server.where}
    assert cases.PATIENT_ID not in note.read_text()


def test_what_was_sent_to_one_archive_was_not_sent_to_another(results: Path, own_orthanc: Orthanc) -> None:
    assert sent(results, described(own_orthanc, "dicomweb")) == [S] * 5
    assert sent(results, described(own_orthanc, "dimse")) == [S] * 5


def test_a_result_that_was_written_anew_is_sent_again(results: Path, own_orthanc: Orthanc) -> None:
    server = described(own_orthanc, "dicomweb")
    assert sent(results, server) == [S] * 5
    path = results / cases.STUDY_UID / "seg.dcm"
    seg = pydicom.dcmread(path)
    seg.ContentDescription = "another"
    seg.save_as(path)
    assert sent(results, server) == [A, A, A, S, A]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_archive_that_comes_back_gets_the_rest(results: Path, own_orthanc: Orthanc, protocol: str) -> None:
    server = described(own_orthanc, protocol)
    found, _ = results_to_send(results)
    outcomes = []
    for outcome in send_results(found, server, results, sleep=lambda _: None):
        outcomes.append(outcome.status)
        if len(outcomes) == 2:
            own_orthanc.stop()
        if len(outcomes) == 3:
            own_orthanc.start()
    assert outcomes == [S, S, F, S, S]


def test_a_dead_archive_is_not_tried_for_ever(results: Path) -> None:
    server = server_at(f"http://127.0.0.1:{free_port()}", {"retries": 2, "backoff_s": 0})
    assert server is not None
    assert sent(results, server) == [F, F, F, N, N]
    assert not (results / SENT_FILE).exists()


def test_an_archive_that_does_not_know_us_ends_it(results: Path) -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with speech(refusal) as (port, heard):
        server = server_at(f"http://127.0.0.1:{port}", {"retries": 3, "backoff_s": 0})
        assert server is not None
        assert sent(results, server) == [F, N, N, N, N]
        assert len(heard) == 1


def test_a_refused_object_is_named_with_the_archives_own_code(results: Path) -> None:
    body = json.dumps(
        {
            "00081198": {
                "vr": "SQ",
                "Value": [{"00081197": {"vr": "US", "Value": [0x0122]}, "00081155": {"vr": "UI", "Value": ["1.2"]}}],
            }
        }
    ).encode()
    head = f"Content-Type: application/dicom+json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    for status in (b"409 Conflict", b"202 Accepted"):
        with speech(b"HTTP/1.1 " + status + b"\r\n" + head + body) as (port, _):
            server = server_at(f"http://127.0.0.1:{port}", {"retries": 0, "backoff_s": 0})
            assert server is not None
            found, _ = results_to_send(results)
            outcomes = list(send_results(found, server, results))
        assert [outcome.status for outcome in outcomes] == [F] * 5
        assert "0x0122: it does not take objects of that kind" in outcomes[0].detail


def test_an_association_that_is_refused_ends_it(results: Path, own_orthanc: Orthanc) -> None:
    server = described(own_orthanc, "dimse", calling_ae_title="STRANGER")
    statuses = sent(results, server)
    assert statuses[0] is F
    assert not (results / SENT_FILE).exists()


def test_c_store_over_tls(results: Path, safe_orthanc: Orthanc, certificates: Path) -> None:
    tls = Tls(
        ca_file=certificates / "ca.pem", cert_file=certificates / "client.pem", key_file=certificates / "client.key"
    )
    server = described(safe_orthanc, "dimse", tls=tls.model_dump())
    assert sent(results, server) == [S] * 5


def test_only_what_medfuse_made_is_sent(results: Path, own_orthanc: Orthanc, caplog: pytest.LogCaptureFixture) -> None:
    image = cases.classic_series(cases.grid())[0]
    image.save_as(results / "image.dcm", enforce_file_format=True)
    found, others = results_to_send(results)
    assert ([one.path.name for one in found], others) == (NAMES, 1)
    with pytest.raises(UsageError, match="no folder"):
        results_to_send(results / "nothing")


# The command


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_the_command(results: Path, own_orthanc: Orthanc, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "broken.dcm").write_bytes(b"no DICOM")
    assert run("send", results, "--to", own_orthanc.url, "--retries", 0) == 1
    told = capsys.readouterr().err
    assert "broken.dcm: it is no DICOM file" in told
    assert [word for line in told.splitlines() if "DOC" in line for word in line.split() if word.isalnum()] == [
        "DOC",
        "1",
    ]
    (results / "broken.dcm").unlink()
    assert run("send", results, "--to", own_orthanc.url) == 0
    assert run("send", results, "--to", own_orthanc.address, "--modality", "seg", "--study", cases.STUDY_UID) == 0
    to_dimse = [line for line in (results / SENT_FILE).read_text().splitlines() if "ORTHANC" in line]
    assert [json.loads(line)["file"] for line in to_dimse] == [f"{cases.STUDY_UID}/seg.dcm"]


def test_a_dry_run_lists_and_sends_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert run("send", results, "--to", f"http://127.0.0.1:{nobody.getsockname()[1]}", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in lines[1:]] == [f"{cases.STUDY_UID}/{name}" for name in NAMES]


def test_nothing_to_send_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("send", tmp_path, "--to", "http://127.0.0.1:1") == 2
    assert "holds no DICOM result to send" in capsys.readouterr().err
    assert run("send", tmp_path, "--to", "nowhere") == 2
