"""`medfuse index`: the studies of a folder, with their labels, in a manifest."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from medfuse.domain import LabelValue, Rejected, Study
    from medfuse.ingest.manifest import ManifestRow
    from medfuse.ingest.scan import ScanResult

_SHOWN = 20
"""How many problems and rejected studies are listed before the rest is counted."""


def index(
    path: Annotated[Path, typer.Argument(help="A folder with DICOM, a Decathlon NIfTI set, or one file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write, a .csv file.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="A CSV file of labels: one row a study, one column a finding, or target_NAME for any value.",
        ),
    ] = None,
    finding: Annotated[
        list[str] | None, typer.Option("--finding", help="A column of the labels to take (repeat); default all.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Read every header again, and keep nothing for the next time.")
    ] = False,
) -> None:
    """List the studies of a folder in a manifest, one row a study.

    DICOM is found by content, whatever the files are called, with the reports (.txt, DICOM SR) and the segmentations
    (DICOM SEG, RTSTRUCT) that belong to it; a public data set is read in its own layout, with the labels that come with
    it. What was read of a large folder is kept in the user's cache folder (or MEDFUSE_CACHE_DIR), without names, and
    spares the reading next time. The columns are explained in data_manifests/README.md. Exit code 1 says that some
    studies were rejected; the others are in the manifest.
    """
    _check_use(output, labels)

    from rich.console import Console

    from medfuse.ingest.importers import find_importer
    from medfuse.ingest.labels import join_labels, join_targets, read_labels
    from medfuse.ingest.manifest import row_of, write_manifest
    from medfuse.ingest.scan import find_studies

    err = Console(stderr=True)
    read = None if labels is None else read_labels(labels)
    with err.status(f"Looking for studies under {path} ..."):
        found = find_studies(path, cache=None if no_cache else ...)
    importer = find_importer(path)
    if read is None and importer is not None:
        read = importer.labels(path, found.studies)
    if finding and read is None:
        raise UsageError("--finding names columns of labels, and there are none; give the file with --labels")
    joined: dict[str, dict[str, LabelValue]] = {}
    targets: dict[str, dict[str, str]] = {}
    if read is not None:
        joined = join_labels(found.studies, read, finding or None, rejected=found.rejected)
        targets = join_targets(found.studies, read)
    uids = [study.study_instance_uid for study in found.studies]
    rows = [
        row_of(study, path, joined.get(uid), targets.get(uid)) for uid, study in zip(uids, found.studies, strict=True)
    ]
    _tell_problems(err, found.studies, found.rejected)
    if not rows:
        err.print("No study can be used: no manifest was written.", highlight=False)
        raise typer.Exit(1)
    write_manifest(output, rows)
    out = Console()
    out.print(_summary(rows, found))
    if importer is not None:
        its_own = f"; labels from its own tables ({importer.label_provenance})" if joined and labels is None else ""
        out.print(f"Read as {importer.name}{its_own}.", highlight=False, markup=False)
    out.print(f"Wrote {output}: {len(rows)} {'study' if len(rows) == 1 else 'studies'}.", highlight=False, markup=False)
    if found.rejected:
        raise typer.Exit(1)


def _check_use(output: Path, labels: Path | None) -> None:
    """Refuse, before anything is read, what cannot end well."""
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: its folder does not exist; make it first")
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder; expected the name of a .csv file")
    if labels is not None and output.resolve() == labels.resolve():
        raise UsageError(f"--output {output} would replace the label file; choose another name")


def _summary(rows: "Sequence[ManifestRow]", found: "ScanResult") -> "Table":
    """Counts of what was found, as a table of two columns."""
    from rich.table import Table

    table = Table(title="Index", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    modalities = Counter(modality for row in rows for modality in row.modalities)
    table.add_row("studies", str(len(rows)))
    table.add_row("patients", str(len({row.patient_key for row in rows})))
    for modality, n in sorted(modalities.items()):
        table.add_row(f"with {modality}", str(n))
    table.add_row("with a report", str(sum(row.report_count > 0 for row in rows)))
    table.add_row("with a segmentation", str(sum(row.segmentation_count > 0 for row in rows)))
    for name in rows[0].labels:
        table.add_row(_plain(name), _label_counts([row.labels[name] for row in rows]))
    known = Counter(name for row in rows for name in row.targets)
    for name, n in known.items():
        table.add_row(_plain(f"target {name}"), f"{n} known")
    table.add_row("with problems", str(sum(bool(row.problems) for row in rows)))
    table.add_row("rejected", str(len(found.rejected)))
    for reason, n in sorted(found.skipped_files.items()):
        table.add_row(f"files left out, {reason}", str(n))
    return table


def _label_counts(values: "Sequence[LabelValue]") -> str:
    counts = Counter(values)
    return ", ".join(f"{n} {value.replace('_', ' ').lower()}" for value, n in sorted(counts.items(), reverse=True))


def _tell_problems(err: "Console", studies: "Sequence[Study]", rejected: "Sequence[Rejected]") -> None:
    """One line a problem or rejected study, the first of them."""
    lines = [f"rejected: {r.reason}: {r.detail}" for r in rejected]
    lines += [f"problem in study {s.study_instance_uid}: {problem}" for s in studies for problem in s.problems]
    for line in lines[:_SHOWN]:
        err.print(line, highlight=False, markup=False, soft_wrap=True)
    if len(lines) > _SHOWN:
        err.print(f"and {len(lines) - _SHOWN} more", highlight=False)


def _plain(text: str) -> str:
    """`text` as rich shows it literally."""
    from rich.markup import escape

    return escape(text)
