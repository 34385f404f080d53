"""`medfuse label-reports`: the labels that follow from what reports say."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import StudyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from medfuse.domain import Report
    from medfuse.ingest.reports.labels import ReportLabels
    from medfuse.ingest.reports.lexicon import Lexicon
    from medfuse.ingest.reports.tables import ReportColumns

    Studies = list[tuple[str, Sequence[Report]]]

_SHOWN = 20


def label_reports(
    path: Annotated[
        Path,
        typer.Argument(help="A folder of studies, a manifest, a CSV or JSON table of reports, or a folder of reports."),
    ],
    findings: Annotated[Path, typer.Option("--findings", "-f", help="The lexicon: configs/labels/NAME.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The label file to write, a .csv file.")],
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="Write one row a mention: offsets, section, what is said of it.")
    ] = None,
    evidence_text: Annotated[
        bool, typer.Option("--evidence-text", help="Add the line of the report to the evidence (patients' text).")
    ] = False,
    id_: Annotated[str | None, typer.Option("--id", help="The column of a table that says whose report it is.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="The column of a table that holds the report.")] = None,
    section: Annotated[
        list[str] | None, typer.Option("--section", help="COLUMN=SECTION of a table (repeat), e.g. Befund=FINDINGS.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="What the keys are: study_instance_uid, accession_number or patient_id."),
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="en, de, fr, es or zh; told from each report when left out.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="The code page of the files where it is not told right.")
    ] = None,
) -> None:
    """Label studies by what their reports say of findings, for medfuse index --labels.

    A finding is PRESENT, ABSENT, UNCERTAIN or NOT_ASSESSED (not mentioned). Negations, doubts, history, questions and
    relatives are told apart mention by mention; the lexicon says what counts. Exit code 1 says that some reports could
    not be read; the others are labelled.
    """
    _check_use(output, evidence, path, language)

    from rich.console import Console

    from medfuse.config.lexicon import load_lexicon
    from medfuse.domain import Provenance
    from medfuse.ingest.labels import write_labels
    from medfuse.ingest.reports.labels import label_reports as label
    from medfuse.ingest.reports.labels import write_evidence

    err = Console(stderr=True)
    lexicon = load_lexicon(findings)
    with err.status(f"Reading reports of {path} ..."):
        studies, key_column, failures = _read(path, _columns(id_, text, section), encoding)
    key_column = _checked_key(key) or key_column
    _tell(err, failures)
    if not studies:
        err.print("No report can be used: no label file was written.", highlight=False)
        raise typer.Exit(1)
    with err.status(f"Labelling {len(studies)} studies ..."):
        labelled = label(studies, lexicon, language=language)
    write_labels(output, key_column, labelled.labels, Provenance.REPORT_DERIVED)
    if evidence is not None:
        write_evidence(evidence, key_column, labelled, lexicon, with_text=evidence_text)
    _summary(labelled, lexicon, studies, output)
    if failures:
        raise typer.Exit(1)


def _check_use(output: Path, evidence: Path | None, path: Path, language: str | None) -> None:
    """Refuse, before anything is read, what cannot end well."""
    from medfuse.ingest.reports.assertion import LANGUAGES

    for option, target in (("--output", output), ("--evidence", evidence)):
        if target is None:
            continue
        if not target.absolute().parent.is_dir():
            raise UsageError(f"{option} {target}: its folder does not exist; make it first")
        if target.is_dir():
            raise UsageError(f"{option} {target} is a folder; expected the name of a .csv file")
        if target.resolve() == path.resolve():
            raise UsageError(f"{option} {target} would replace what is read; choose another name")
    if evidence is not None and evidence.resolve() == output.resolve():
        raise UsageError(f"--evidence {evidence} would replace the label file; choose another name")
    if not path.exists():
        raise UsageError(f"{path} does not exist; name a folder, a manifest or a table of reports")
    if language is not None and language not in LANGUAGES:
        raise UsageError(f"--language {language}: expected one of {', '.join(LANGUAGES)}")


def _checked_key(key: str | None) -> str | None:
    from medfuse.ingest.labels import KEY_COLUMNS

    if key is not None and key not in KEY_COLUMNS:
        raise UsageError(f"--key {key}: expected one of {', '.join(KEY_COLUMNS)}")
    return key


def _columns(id_: str | None, text: str | None, section: "Sequence[str] | None") -> "ReportColumns | None":
    from medfuse.domain import SectionName
    from medfuse.ingest.reports.tables import ReportColumns

    if id_ is None and text is None and not section:
        return None
    sections = {}
    for given in section or ():
        column, _, name = given.rpartition("=")
        if not column or name.upper() not in SectionName.__members__:
            raise UsageError(f"--section {given}: expected COLUMN=SECTION, the section one of {', '.join(SectionName)}")
        sections[column] = SectionName(name.upper())
    return ReportColumns(id=id_, text=text, sections=sections)


def _read(path: Path, columns: "ReportColumns | None", encoding: str | None) -> "tuple[Studies, str, list[str]]":
    """Key and reports of each study, the column that the keys belong in, and what could not be read."""
    from medfuse.ingest.reports.sources import is_manifest, of_folder, of_manifest, of_table

    if path.is_dir():
        return of_folder(path, encoding)
    if is_manifest(path):
        return of_manifest(path)
    try:
        return of_table(path, columns, encoding)
    except StudyError as error:
        raise UsageError(error.detail) from error


def _tell(err: "Console", failures: "Sequence[str]") -> None:
    for line in failures[:_SHOWN]:
        err.print(line, highlight=False, markup=False, soft_wrap=True)
    if len(failures) > _SHOWN:
        err.print(f"and {len(failures) - _SHOWN} more", highlight=False)


def _summary(labelled: "ReportLabels", lexicon: "Lexicon", studies: "Studies", output: Path) -> None:
    """Counts by finding and value, as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from medfuse.domain import LabelValue

    table = Table(title="Labels from reports")
    table.add_column("finding", style="bold")
    for value in LabelValue:
        table.add_column(value.value.replace("_", " ").lower(), justify="right")
    for name in lexicon.findings:
        counts = Counter(values[name] for values in labelled.labels.values())
        table.add_row(escape(name), *(str(counts[value]) for value in LabelValue))
    out = Console()
    out.print(table)
    with_report = sum(bool(reports) for _, reports in studies)
    many = "study" if len(studies) == 1 else "studies"
    told = f"Wrote {output}: {len(studies)} {many}, {with_report} with a report."
    out.print(told, highlight=False, markup=False)
