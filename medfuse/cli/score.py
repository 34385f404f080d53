"""`medfuse score`: a model over many studies, unattended."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from medfuse.batch import Limits, Policy, ScoringSession, Source
    from medfuse.domain import StudyOutcome
    from medfuse.ingest.network.archive import Query

TABLE = "scores.csv"
SERVERS = Path("pacs.yaml")
_QUERY_KEYS = {
    "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
    "StudyInstanceUID": "study_instance_uid",
    "ModalitiesInStudy": "modality",
    "StudyDate": "study_date",
    "StudyDescription": "description",
}
_LIMIT = "limit"
_MEMORY_SHARE = 0.8
_ARGUMENTS = "CHECKPOINT [CHECKPOINT ...] INPUT"


def score(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar=_ARGUMENTS,
            help="Run folders (or best/, last/; folds and several runs answer as one ensemble), then what to "
            "score: a folder, a manifest (CSV), or a server's query: https://HOST/PATH?StudyDate=20240101-, or "
            "NAME?... with a name from the servers' file.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results.", show_default=False)] = None,
    status: Annotated[
        Path | None, typer.Option(help="Show how far the run into this folder is, and end.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Score studies anew that this model has scored.")] = False,
    retry: Annotated[
        list[str] | None, typer.Option(help="Try again what was rejected: `rejected`, or a reason; several times.")
    ] = None,
    outputs: Annotated[
        str, typer.Option(help="What to write, e.g. json,nifti,dicom_seg; the usual ones when left out.")
    ] = "",
    augmentations: Annotated[
        int, typer.Option(help="Further views of each study; the answer is their mean.", min=0)
    ] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what in each study spoke for its findings; takes many times longer.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
    engine: Annotated[
        str,
        typer.Option(help="What runs the network: pytorch, compiled, openvino, onnxruntime; auto takes the fastest."),
    ] = "auto",
    precision: Annotated[str, typer.Option(help="Numbers of the network: fp32, bf16; auto takes the faster.")] = "auto",
    gates: Annotated[
        Path | None, typer.Option(help="YAML: what to do about each quality flag: flag, reject, ignore.")
    ] = None,
    reject_flags: Annotated[str, typer.Option(help="Quality flags that reject a study: CODE,... or all.")] = "",
    study_seconds: Annotated[
        float, typer.Option(help="Longest time for reading, network or writing of a study; 0 for any.", min=0)
    ] = 1800.0,
    study_memory: Annotated[
        float, typer.Option(help="GiB that reading, network or writing may take; 0 for 80 % of the machine's.", min=0)
    ] = 0.0,
    one_process: Annotated[
        bool, typer.Option("--one-process", help="Do everything in this process, for finding faults; no limits hold.")
    ] = False,
    servers: Annotated[Path, typer.Option(help="File that describes servers by name.")] = SERVERS,
) -> None:
    """Score studies with a trained model, and write their results.

    Writes OUTPUT/scores.csv, one row a study, and OUTPUT/<Study Instance UID>/ with prediction.json,
    segmentation.nii.gz (on the source grid), seg.dcm, and what --outputs names. OUTPUT/ledger.sqlite keeps what became
    of every study: the same command goes on where it was stopped, killed or out of space, scores what is new, and
    scores anew what was changed or was scored by another model. A study that cannot be used, or crashes or hangs a
    process, is rejected with its reason, and the rest goes on. Exit code 1 when a study is rejected; the table has its
    reason.

    medfuse score --status OUTPUT shows counts, speed, time left and reasons, also while a run is going on.
    """
    if status is not None:
        from medfuse.cli.score_status import show_status

        show_status(status)
        return
    checkpoints, source = _split(arguments or [])
    if output is None:
        raise UsageError("give a folder for the results: --output DIR")
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder for the results")

    from medfuse.batch import ModelOptions, ScoringSession, SessionOptions, StageFactories

    names = _names(outputs)
    more = (("engine", engine), ("precision", precision))
    model = ModelOptions(
        checkpoints=checkpoints, device=device, augmentations=augmentations, explains=explain, more=more
    )
    policy = _policy(gates, reject_flags)
    settings: dict[str, Any] = {"outputs": names, "augmentations": augmentations, "explain": explain, **dict(more)}
    settings["gates"] = dict(policy.actions)
    options = SessionOptions(
        limits=_limits(study_seconds, study_memory), policy=policy, settings=settings, is_isolated=not one_process
    )
    factories = StageFactories.of(model, output, names)
    with _opened(source, servers) as found, ScoringSession(output, factories, options) as session:
        outcomes = run(session, found, again=again, retry=retry or ())
    if outcomes["rejected"]:
        raise typer.Exit(1)


def run(
    session: "ScoringSession", source: "Source", *, again: bool = False, retry: "Sequence[str]" = ()
) -> Counter[str]:
    """Score a source's studies into an open session and say what came of it.

    Args:
        session: The folder and the model.
        source: What to score.
        again: Score studies anew that this model has scored there.
        retry: Reasons whose studies are tried again.

    Returns:
        How many were `scored`, `rejected`, or `kept` from before.

    Raises:
        StorageError: The results cannot be written.
    """
    from rich.console import Console
    from rich.progress import track

    from medfuse.batch import write_sources

    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    with console.status("loading the model"):
        for reason in session.unknown_reasons(retry):
            console.print(f"no study there was rejected for {reason}", markup=False)
        plan = session.plan(source.jobs, again=again, retry=retry)
    write_sources(source.places, session.output)
    new = session.refuse(source.rejected)
    for refused in new:
        _say(refused, counts, console)
    before = plan.kept_rejected + len(source.rejected) - len(new)
    counts["rejected"] += before
    counts["kept"] = plan.kept
    outcomes = track(session.run(plan.jobs), description="scoring", total=len(plan.jobs), console=console)
    for outcome in outcomes:
        _say(outcome, counts, console)
    console.print(_summary(counts, before))
    console.print(f"results: {session.output / TABLE}", markup=False, soft_wrap=True)
    return counts


def _summary(counts: Counter[str], before: int) -> str:
    text = f"{counts['scored']} scored, {counts['rejected']} rejected"
    if before:
        text += f" ({before} of them before; --retry rejected tries them again)"
    return text + (f", {counts['kept']} already scored by this model" if counts["kept"] else "")


def _say(outcome: "StudyOutcome", counts: Counter[str], console: "Console") -> None:
    from medfuse.domain import Rejected

    if isinstance(outcome, Rejected):
        counts["rejected"] += 1
        line = f"rejected {outcome.study_instance_uid}: {outcome.reason}: {outcome.detail}"
        console.print(line, markup=False, soft_wrap=True)
    else:
        counts["scored"] += 1


def _split(arguments: "Sequence[str]") -> tuple[tuple[Path, ...], str]:
    """The checkpoints and the input; a checkpoint that is none is refused before anything is loaded."""
    if len(arguments) < 2:
        raise UsageError(f"expected {_ARGUMENTS}, or --status DIR; see medfuse score --help")
    *places, source = arguments
    for place in places:
        check_checkpoint(Path(place))
    return tuple(map(Path, places)), source


def check_checkpoint(path: Path) -> None:
    """Refuse a folder without a checkpoint at once; torch is not loaded for it.

    Raises:
        UsageError: There is none.
    """
    if (path / "folds.json").is_file() or (path / "fold-0").is_dir():
        return
    if not any((folder / "checkpoint.json").is_file() for folder in (path, path / "best", path / "last")):
        raise UsageError(f"{path} holds no checkpoint; give a run folder of medfuse train, or its best/ or last/")


@contextmanager
def _opened(source: str, servers: Path) -> "Iterator[Source]":
    """What to score, whatever kind it is.

    Raises:
        UsageError: It is none, or holds nothing.
    """
    from medfuse.batch import archive_source, folder_source, manifest_source

    path = Path(source)
    if path.suffix.lower() == ".csv" and path.is_file():
        yield manifest_source(path)
        return
    if path.exists() or not _may_be_server(source, servers):
        yield folder_source(path)
        return

    from medfuse.cli.fetch import find, find_server
    from medfuse.ingest.network.archive import open_archive

    address, _, query = source.partition("?")
    asked, limit = query_of(query)
    server = find_server(address.rstrip("/").removesuffix("/studies"), servers, {})
    archive = open_archive(server)
    try:
        with archive_source(archive, server, find(archive, server, [asked], limit)) as found:
            yield found
    finally:
        archive.close()


def _may_be_server(source: str, servers: Path) -> bool:
    return "://" in source or "?" in source or "@" in source or (servers.is_file() and "/" not in source)


def query_of(text: str) -> "tuple[Query, int | None]":
    """The query that stands behind the `?` of a server's address, in the words of QIDO-RS (PS3.18 section 8.3.4).

    Args:
        text: Like `StudyDate=20240101-20240131&ModalitiesInStudy=CT&limit=100`.

    Returns:
        The query, and how many studies at most; None for all.

    Raises:
        UsageError: It asks for nothing, or for what cannot be asked.
    """
    from urllib.parse import parse_qsl

    from medfuse.ingest.network.archive import Query

    given = dict(parse_qsl(text, keep_blank_values=True))
    limit = given.pop(_LIMIT, None)
    if limit is not None and not (limit.isascii() and limit.isdecimal() and int(limit) > 0):
        raise UsageError(f"limit={limit[:20]!r} in the query is no number from 1")
    unknown = sorted(set(given) - set(_QUERY_KEYS))
    if unknown:
        raise UsageError(f"the query asks by {unknown[0][:60]!r}; it takes {', '.join(_QUERY_KEYS)} and {_LIMIT}")
    query = Query(**{_QUERY_KEYS[key]: value for key, value in given.items()})
    if not query.filters():
        raise UsageError("the query narrows nothing; ask like '...?StudyDate=20240101-20240131&ModalitiesInStudy=CT'")
    return query, None if limit is None else int(limit)


def _names(outputs: str) -> tuple[str, ...] | None:
    """The outputs that are asked for; None for the usual ones.

    Raises:
        UsageError: One is unknown.
    """
    from medfuse.outputs import chosen_outputs

    names = tuple(name.strip() for name in outputs.split(",") if name.strip()) or None
    chosen_outputs(names)
    return names


def _limits(seconds: float, memory_gib: float) -> "Limits":
    import psutil

    from medfuse.batch import Limits

    memory = memory_gib * 2**30 if memory_gib else _MEMORY_SHARE * psutil.virtual_memory().total
    return Limits(seconds=seconds or None, memory_bytes=int(memory))


def _policy(path: Path | None, reject_flags: str) -> "Policy":
    from medfuse.batch import Policy
    from medfuse.config.yaml_text import parse_yaml

    policy = Policy()
    if path is not None:
        try:
            content: Any = parse_yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}: {type(error).__name__}; expected a text file") from error
        policy = Policy.of(content, str(path))
    codes = [code.strip() for code in reject_flags.split(",") if code.strip()]
    return policy.rejecting(codes) if codes else policy
