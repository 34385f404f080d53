"""`medfuse receive`: dcmtk, Orthanc and worse send to it."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from medfuse.cli.main import main
from medfuse.cli.receive import serve
from medfuse.ingest import find_studies
from medfuse.ingest.network.inbox import Inbox
from medfuse.ingest.network.receive import Listener, ListenOptions
from medfuse.ingest.network.servers import Tls
from tests.network.conftest import Orthanc, free_port
from tests.network.studies import CHEST, HEAD, NAMES, ROOT, Made, instance
from tests.network.test_orthanc_fetch import assert_as_stored

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # see tidy_sockets

STUDY = f"{ROOT}.95"


def dcmtk(program: str) -> str:
    """Debian's program, not the one of the same name that pynetdicom puts into the environment."""
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != own)
    found = shutil.which(program, path=path)
    if found is None:
        pytest.skip(f"{program} is not installed: apt-get install dcmtk")
    return found


@contextmanager
def serving(
    output: Path, *, quiet_s: float = 0.3, score: Callable[[str, Path], None] | None = None, **options: object
) -> Iterator[int]:
    """A running service, as the command runs it, and its port."""
    stop, port = threading.Event(), free_port()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            serve(output, ListenOptions(port=port, **options), stop, quiet_s=quiet_s, score=score)  # type: ignore[arg-type]
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: listens(port) or failures)
        yield port
    finally:
        stop.set()
        thread.join()
    assert not failures


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            pytest.fail("it did not happen in time")
        time.sleep(0.02)


@contextmanager
def sender(port: int, title: str = "SENDER", called: str = "MEDFUSE", **options: object) -> Iterator[Association]:
    entity = AE(ae_title=title)
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", ImplicitVRLittleEndian):
        entity.add_requested_context(CTImageStorage, syntax)
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title=called, **options)  # type: ignore[arg-type]
    yield association
    if association.is_established:
        association.release()


def send(association: Association, data: bytes) -> int:
    return int(association.send_c_store(pydicom.dcmread(io.BytesIO(data))).Status)


def write(folder: Path, files: dict[str, bytes]) -> list[str]:
    for uid, data in files.items():
        (folder / uid).write_bytes(data)
    return [str(folder / uid) for uid in files]


def test_dcmtk_sends_a_study_and_it_comes_out_as_it_was(tmp_path: Path) -> None:
    sent = dict(instance(STUDY, 1, number) for number in range(4))
    sent |= dict(instance(STUDY, 2, number, syntax="1.2.840.10008.1.2.5") for number in range(3))
    (tmp_path / "out").mkdir()
    paths = write(tmp_path / "out", sent)
    with serving(tmp_path / "in") as port:
        subprocess.run([dcmtk("echoscu"), "-aec", "MEDFUSE", "localhost", str(port)], check=True)
        program = [dcmtk("storescu"), "-aec", "MEDFUSE", "-xr", "localhost", str(port)]
        subprocess.run([*program, *paths], check=True)
        until((tmp_path / "in" / STUDY).is_dir)
    assert_as_stored(tmp_path / "in" / STUDY, sent)
    (study,) = find_studies(tmp_path / "in").studies
    assert study.study_instance_uid == STUDY


def test_orthanc_sends_studies_in_their_transfer_syntaxes(orthanc: Orthanc, made_studies: Made, tmp_path: Path) -> None:
    stop = threading.Event()
    options = ListenOptions(port=orthanc.medfuse, allowed=("ORTHANC",))
    thread = threading.Thread(target=serve, args=(tmp_path, options, stop), kwargs={"quiet_s": 0.3})
    thread.start()
    try:
        until(lambda: listens(orthanc.medfuse))
        for study in (CHEST, HEAD):
            orthanc.send(study)
        until(lambda: (tmp_path / CHEST).is_dir() and (tmp_path / HEAD).is_dir())
    finally:
        stop.set()
        thread.join()
    for study in (CHEST, HEAD):
        assert_as_stored(tmp_path / study, made_studies.by_study[study])


def test_a_study_is_scored_when_it_is_finished_and_again_when_it_grows(tmp_path: Path) -> None:
    scored: list[int] = []
    files = [instance(STUDY, 1, number)[1] for number in range(3)]

    def score(uid: str, folder: Path) -> None:
        assert uid == STUDY
        scored.append(len(list(folder.rglob("*.dcm"))))

    with serving(tmp_path, score=score) as port:
        with sender(port) as association:
            assert [send(association, data) for data in files[:2]] == [0, 0]
        until(lambda: scored)
        with sender(port) as association:
            send(association, files[2])
        until(lambda: len(scored) == 2)
    assert scored == [2, 3]
    with serving(tmp_path, score=score) as port, sender(port):
        pass
    assert scored == [2, 3]


def test_a_study_that_a_killed_run_left_unscored_is_scored_at_the_next_start(tmp_path: Path) -> None:
    uid, data = instance(STUDY, 1, 1)
    with Inbox(tmp_path, quiet_s=0, hand_over=True) as inbox:
        inbox.add(data, uid)
        inbox.take_finished()
    scored: list[str] = []
    with serving(tmp_path, score=lambda uid, folder: scored.append(uid)):
        until(lambda: scored)
    assert scored == [STUDY]


def test_only_those_who_are_allowed_may_send(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path, allowed=("FRIEND",)) as port:
        with sender(port, "FRIEND") as friend:
            assert friend.is_established
        with sender(port, "STRANGER") as stranger:
            assert stranger.is_rejected
        with sender(port, "FRIEND", "ANOTHER") as lost:
            assert lost.is_rejected
    assert "'STRANGER' called 'MEDFUSE'" in caplog.text
    assert "'FRIEND' called 'ANOTHER'" in caplog.text


def test_the_end_of_an_association_starts_the_quiet_time_anew(tmp_path: Path) -> None:
    now = [0.0]
    with Inbox(tmp_path, quiet_s=30, clock=lambda: now[0]) as inbox, Listener(inbox, ListenOptions(port=0)) as listener:
        with sender(listener.port) as association:
            send(association, instance(STUDY, 1, 1)[1])
            now[0] = 20
        until(lambda: not listener.is_busy)
        now[0] = 40
        assert inbox.take_finished() == []
        now[0] = 50
        assert inbox.take_finished() == [STUDY]


def test_tls_keeps_out_who_has_no_certificate(tmp_path: Path, certificates: Path) -> None:
    ours = Tls(
        ca_file=certificates / "ca.pem",
        cert_file=certificates / "localhost.pem",
        key_file=certificates / "localhost.key",
    )
    theirs = Tls(
        ca_file=certificates / "ca.pem", cert_file=certificates / "client.pem", key_file=certificates / "client.key"
    )
    _, data = instance(STUDY, 1, 1)
    with serving(tmp_path, tls=ours) as port:
        with sender(port, tls_args=(theirs.client_context(), "localhost")) as association:
            assert send(association, data) == 0
        nameless = Tls(ca_file=certificates / "ca.pem")
        with sender(port, tls_args=(nameless.client_context(), "localhost")) as association:
            assert not association.is_established
        with sender(port) as association:
            assert not association.is_established
        until((tmp_path / STUDY).is_dir)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """Listens, and finishes nothing."""
    with Inbox(tmp_path) as inbox, Listener(inbox, ListenOptions(port=0, most_bytes=100_000)) as opened:
        yield opened


def test_a_dataset_that_is_none_is_refused_and_the_next_one_is_taken(listener: Listener, tmp_path: Path) -> None:
    _, data = instance(STUDY, 1, 1)
    broken = pydicom.dcmread(io.BytesIO(data))
    broken.StudyInstanceUID = ""
    with sender(listener.port) as association:
        assert association.send_c_store(broken).Status == 0xC000
        assert send(association, data) == 0
    assert len(list(tmp_path.rglob("*.dcm"))) == 1


def test_a_dataset_of_another_instance_than_is_said_is_refused(listener: Listener) -> None:
    from pynetdicom.dimse_primitives import C_STORE

    _, data = instance(STUDY, 1, 1)
    with sender(listener.port) as association:
        original = C_STORE.AffectedSOPInstanceUID.fset  # type: ignore[attr-defined]
        with pytest.MonkeyPatch.context() as patch:
            lie = property(C_STORE.AffectedSOPInstanceUID.fget, lambda self, value: original(self, "1.2.3"))  # type: ignore[attr-defined]
            patch.setattr(C_STORE, "AffectedSOPInstanceUID", lie)
            status = association.send_c_store(pydicom.dcmread(io.BytesIO(data)))
    assert status.Status == 0xA900


def test_a_full_disk_is_out_of_resources(listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    _, data = instance(STUDY, 1, 1)
    with sender(listener.port) as association:
        monkeypatch.setattr(os, "fsync", full)
        assert send(association, data) == 0xA700
        monkeypatch.undo()
        assert send(association, data) == 0
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".dcm"]


def test_an_instance_beyond_the_limit_is_hung_up_on(
    listener: Listener, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, small = instance(STUDY, 1, 1, side=128)
    _, large = instance(STUDY, 1, 2, side=512)
    with sender(listener.port) as association:
        for _ in range(4):
            assert send(association, small) == 0
        assert "Status" not in association.send_c_store(pydicom.dcmread(io.BytesIO(large)))
        until(lambda: not association.is_established)
    assert "more than 100000 bytes" in caplog.text
    assert len(list(tmp_path.rglob("*.dcm"))) == 1


def test_a_sender_that_dies_in_the_middle_of_an_instance_leaves_nothing_of_it(
    listener: Listener, tmp_path: Path
) -> None:
    _, data = instance(STUDY, 1, 1, side=128)
    with sender(listener.port) as association:
        assert send(association, instance(STUDY, 1, 2)[1]) == 0
        connection = association.dul.socket.socket  # type: ignore[union-attr]
        header = bytes([4, 0]) + (50_000).to_bytes(4, "big") + (49_996).to_bytes(4, "big") + b"\x01\x00"
        connection.sendall(header + data[:10_000])
        connection.shutdown(socket.SHUT_RDWR)
        until(lambda: not association.is_established)
    assert [path.stem for path in tmp_path.rglob("*.dcm")] == [f"{STUDY}.1.2"]
    with sender(listener.port) as again:
        assert send(again, data) == 0


def test_nobody_is_named_in_the_log(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    _, data = instance(STUDY, 1, 1)
    broken = pydicom.dcmread(io.BytesIO(data))
    broken.SeriesInstanceUID = ""
    with sender(listener.port) as association:
        association.send_c_store(broken)
        send(association, data)
    assert "INVALID_UID" in caplog.text
    assert not [word for word in ("4711", "Geheim", *NAMES) if word in caplog.text]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_runs_until_it_is_told_to_stop_and_goes_on_later(tmp_path: Path, number: int) -> None:
    port, log = free_port(), tmp_path / "log"
    code = (
        "import sys; from medfuse.cli.main import main; import atexit;"
        "atexit.register(lambda: print('torch' in sys.modules)); main(sys.argv[1:])"
    )
    options = ["receive", "--output", str(tmp_path / "in"), "--port", str(port), "--quiet-seconds", "600"]
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", code, *options], stdout=file, stderr=file)
    try:
        until(lambda: listens(port), 60)
        with sender(port) as association:
            assert send(association, instance(STUDY, 1, 1)[1]) == 0
            process.send_signal(number)
            assert process.wait(20) == 0
    finally:
        process.kill()
    said = log.read_text()
    assert "stopping" in said
    assert said.rstrip().endswith("False")  # torch was not loaded
    assert not (tmp_path / "in" / STUDY).exists()
    with serving(tmp_path / "in"):
        until((tmp_path / "in" / STUDY).is_dir)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "example.org"), "would take studies from anyone"),
        (("--checkpoint", "nowhere"), "go together"),
        (("--checkpoint", "nowhere", "--results", "results"), "holds no checkpoint"),
        (("--ae-title", "a title that is far too long"), "is no AE title"),
        (("--allow-ae", "b\\c"), "is no AE title"),
        (("--tls-key", "key.pem"), "need --tls-cert"),
        (("--tls-cert", "missing.pem"), "cannot use the certificates"),
    ],
)
def test_the_command_refuses_what_cannot_work(
    tmp_path: Path, options: tuple[str, ...], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["receive", "--output", str(tmp_path / "in"), "--port", "0", *options])
    assert ending.value.code == 2
    assert words in " ".join(capfd.readouterr().err.split())


def test_a_port_that_is_taken_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as ending:
            main(["receive", "--output", str(tmp_path), "--port", str(taken.getsockname()[1])])
    assert ending.value.code == 2
    assert "choose another --port" in " ".join(capfd.readouterr().err.split())
