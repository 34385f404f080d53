"""`medfuse receive`: a DICOM listener that files studies and hands the finished ones to scoring."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import StorageError, UsageError

if TYPE_CHECKING:
    from medfuse.batch import ScoringSession, Source, StageFactories
    from medfuse.ingest.network.inbox import Inbox
    from medfuse.ingest.network.receive import ListenOptions
    from medfuse.ingest.network.servers import Tls

LOG = logging.getLogger(__name__)
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_ANYONE = "*"
_PAUSE_S = 60.0
"""How long scoring waits after its results could not be written; receiving goes on."""

Score = Callable[[str, Path], None]
"""Scores a finished study, named by its UID, in its folder."""


def receive(
    output: Annotated[Path, typer.Option(help="Folder for the studies.", show_default=False)],
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 11112,
    ae_title: Annotated[str, typer.Option(help="Our AE title; senders have to call it.")] = "MEDFUSE",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for every one of this machine.")
    ] = "127.0.0.1",
    allow_ae: Annotated[
        list[str] | None, typer.Option(help="AE title that may send, * for any; may be given several times.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Score finished studies with this run.")] = None,
    results: Annotated[Path | None, typer.Option(help="Folder for the results of --checkpoint.")] = None,
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
    quiet_seconds: Annotated[
        float, typer.Option(help="A study is finished when nothing has arrived for so long.", min=0.1)
    ] = 30.0,
    max_instance_mb: Annotated[int, typer.Option(help="Largest instance that is taken.", min=1)] = 2048,
    tls_cert: Annotated[Path | None, typer.Option(help="Our certificate (PEM): listen with TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Certificates (PEM) that have to vouch for senders.")] = None,
) -> None:
    """Receive studies by DICOM C-STORE, and score each one when it is finished.

    Files OUTPUT/<Study Instance UID>/<Series Instance UID>/<SOP Instance UID>.dcm. A study appears when nothing has
    arrived for it for --quiet-seconds; what arrives later makes a new version, which is scored again. Runs until
    Ctrl-C or SIGTERM, finishes what is in hand, and goes on at the next start. Listens to this machine alone unless
    --host says otherwise. An AE title is no proof of who sends: for that, use --tls-cert with --tls-ca.
    """
    from medfuse.ingest.network.receive import ListenOptions

    if (checkpoint is None) != (results is None):
        raise UsageError("--checkpoint and --results go together: the model, and the folder for what it says")
    if checkpoint is not None and results is not None:
        from medfuse.cli.score import check_checkpoint

        check_checkpoint(checkpoint)
        if results.resolve().is_relative_to(output.resolve()) or output.resolve().is_relative_to(results.resolve()):
            raise UsageError("--results and --output lie in each other; choose two folders side by side")
    options = ListenOptions(
        host=host,
        port=port,
        ae_title=_title(ae_title),
        allowed=_allowed(allow_ae or [], host, knows_senders=tls_ca is not None),
        tls=_tls(tls_cert, tls_key, tls_ca),
        most_bytes=max_instance_mb << 20,
    )
    with ExitStack() as stack:
        stop = stack.enter_context(_told_to_stop())
        score = None
        if checkpoint is not None and results is not None:
            score = stack.enter_context(scorer(checkpoint, results, device))
        serve(output, options, stop, quiet_s=quiet_seconds, score=score)


def serve(
    output: Path, options: "ListenOptions", stop: threading.Event, *, quiet_s: float, score: Score | None = None
) -> None:
    """Receive until `stop` is set; then hang up, and leave what is not finished for the next start.

    Args:
        output: Folder for the studies.
        options: Where and to whom to listen.
        stop: Set by whoever wants it to end.
        quiet_s: Seconds without an arrival after which a study is finished.
        score: Called with each finished study, here and for those that a former run left.

    Raises:
        UsageError: The port is taken, or another process receives into the folder.
        StorageError: The folder cannot be written.
    """
    from medfuse.ingest.network.inbox import Inbox
    from medfuse.ingest.network.receive import Listener

    with Inbox(output, quiet_s=quiet_s, hand_over=score is not None) as inbox, Listener(inbox, options) as listener:
        pause_until = 0.0
        LOG.info("listening on %s:%d as %s", options.host, listener.port, options.ae_title)
        while not stop.is_set():
            for uid in inbox.take_finished():
                LOG.info("study %s is finished", uid)
            if score is not None and time.monotonic() >= pause_until and not _hand_over(inbox, score, stop):
                pause_until = time.monotonic() + _PAUSE_S
            stop.wait(min(1.0, quiet_s / 4))
        LOG.info("stopping")


@contextmanager
def scorer(checkpoint: Path, results: Path, device: str) -> "Iterator[Score]":
    """What scores finished studies, in processes that start with the first of them and end with the block.

    Args:
        checkpoint: The run.
        results: Folder for the results; it is locked as long as something is scored into it.
        device: Of the model.
    """
    from medfuse.batch import ModelOptions, StageFactories

    fastest = (("engine", "auto"), ("precision", "auto"))
    factories = StageFactories.of(ModelOptions(checkpoints=(checkpoint,), device=device, more=fastest), results, None)
    with StudyScorer(factories, results) as score:
        yield score


class StudyScorer:
    """Scores one finished study after the other into an open folder of results; a context manager.

    Args:
        factories: What scores.
        results: Folder for the results.
        is_isolated: Whether the stages have processes of their own.
    """

    def __init__(self, factories: "StageFactories", results: Path, *, is_isolated: bool = True) -> None:
        self._is_isolated = is_isolated
        self._factories = factories
        self._results = results
        self._session: ScoringSession | None = None

    def __enter__(self) -> "StudyScorer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def __call__(self, uid: str, folder: Path) -> None:
        """Score a study, or write down why not.

        Raises:
            StorageError: The results cannot be written; the next call opens the folder anew.
        """
        from medfuse.batch import write_sources
        from medfuse.domain import Rejected

        source = _source(uid, folder)
        try:
            session = self._opened()
            plan = session.plan(source.jobs)
            write_sources(source.places, self._results)
            outcomes = [*session.refuse(source.rejected), *session.run(plan.jobs)]
        except StorageError:
            self._close()
            raise
        for outcome in outcomes:
            if isinstance(outcome, Rejected):
                LOG.warning("study %s is rejected: %s: %s", outcome.study_instance_uid, outcome.reason, outcome.detail)
            else:
                LOG.info("study %s is scored", uid)

    def _opened(self) -> "ScoringSession":
        from medfuse.batch import ScoringSession, SessionOptions

        if self._session is None:
            options = SessionOptions(is_isolated=self._is_isolated)
            self._session = ScoringSession(self._results, self._factories, options).__enter__()
        return self._session

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.__exit__(None, None, None)


def _source(uid: str, folder: Path) -> "Source":
    """The studies of a received folder; none, with the reason, where it holds none."""
    from medfuse.batch import folder_source, studies_source
    from medfuse.domain import Rejected
    from medfuse.ingest.dicom.files import READ_ERRORS

    try:
        return folder_source(folder)
    except UsageError:
        reason, detail = "MISSING_INPUT", "the study holds no images"
    except READ_ERRORS as error:
        reason, detail = "UNEXPECTED_ERROR", f"looking through the study failed with {type(error).__name__}"
    return studies_source((), [Rejected(study_instance_uid=uid, reason=reason, detail=detail)])


def _hand_over(inbox: "Inbox", score: Score, stop: threading.Event) -> bool:
    """Score what waits, until told to stop; whether the results could be written."""
    for uid in inbox.waiting():
        if stop.is_set():
            break
        try:
            score(uid, inbox.directory / uid)
        except StorageError as error:
            LOG.error("study %s is not scored yet: %s", uid, error)
            return False
        inbox.handed_over(uid)
    return True


@contextmanager
def _told_to_stop() -> "Iterator[threading.Event]":
    """An event that Ctrl-C and SIGTERM set; a second one of them ends the process as it always does."""
    stop = threading.Event()
    former: dict[int, object] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        for known, handler in former.items():
            signal.signal(known, handler)  # type: ignore[arg-type]

    for number in (signal.SIGINT, signal.SIGTERM):
        former[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for known, handler in former.items():
            signal.signal(known, handler)  # type: ignore[arg-type]


def _title(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from medfuse.ingest.network.servers import AeTitle

    try:
        title: str = TypeAdapter(AeTitle).validate_python(text.strip())
    except ValidationError:
        raise UsageError(f"{text!r} is no AE title; expected 1 to 16 printable ASCII characters") from None
    return title


def _allowed(titles: list[str], host: str, *, knows_senders: bool) -> tuple[str, ...] | None:
    """The titles that may send, or None for any."""
    if not titles and not knows_senders and host not in _THIS_MACHINE:
        detail = f"listening on {host} would take studies from anyone; name the senders with --allow-ae"
        raise UsageError(f"{detail} (--allow-ae '{_ANYONE}' takes anyone), or ask for certificates with --tls-ca")
    if not titles or _ANYONE in titles:
        return None
    return tuple(_title(title) for title in titles)


def _tls(cert: Path | None, key: Path | None, ca: Path | None) -> "Tls | None":
    from medfuse.ingest.network.servers import Tls

    if cert is None:
        if key is not None or ca is not None:
            raise UsageError("--tls-key and --tls-ca need --tls-cert, our own certificate")
        return None
    return Tls(ca_file=ca, cert_file=cert, key_file=key)
