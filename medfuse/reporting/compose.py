"""The document of a run and its evaluation: stamps, warnings, and a section for each thing that was measured."""

from collections.abc import Sequence

from medfuse.errors import UsageError
from medfuse.evaluation import EvaluationReport
from medfuse.evaluation.table import gap_lines, site_lines
from medfuse.reporting.artifacts import SPLITS, RunArtifacts
from medfuse.reporting.curves import finding_plots, loss_plots, segment_plots, target_plots
from medfuse.reporting.document import Cell, Document, Section, ShownFailure, Table
from medfuse.reporting.tables import finding_table, fold_table, group_table, segment_table, target_tables

LEAKAGE = (
    "LABEL LEAKAGE: the model reads report sections that state the answer; its figures are no measure of reading images"
)


def compose(artifacts: RunArtifacts, failures: Sequence[ShownFailure] = ()) -> Document:
    """The report of a run.

    Args:
        artifacts: What the run left behind, with its evaluation.
        failures: The failures with their pictures; those of the evaluation, without pictures, when left out.

    Raises:
        UsageError: There is no evaluation.
    """
    report = artifacts.evaluation
    if report is None:
        raise UsageError("a report shows an evaluation; give --evaluation (medfuse evaluate)")
    sections = [
        _data(artifacts),
        *(_finding_sections(report)),
        *(_segment_sections(report)),
        *(_target_sections(report)),
        *(_group_sections(report)),
        _failures(report, failures),
        _training(artifacts),
    ]
    return Document(
        title=f"{artifacts.name}: {report.split} split",
        research_use=report.research_use,
        stamps=stamps(artifacts),
        warnings=warnings_of(artifacts),
        sections=tuple(section for section in sections if section is not None),
    )


def stamps(artifacts: RunArtifacts) -> dict[str, Cell]:
    """What identifies the model, the data and the software."""
    report = artifacts.evaluation
    model = report.model if report is not None else None
    leaks = bool(artifacts.at("recipe.allow_leakage")) or (report is not None and report.leakage_allowed)
    told: dict[str, Cell] = {
        "run": artifacts.name,
        "model weights, SHA-256": model.weights_sha256 if model else str(artifacts.at("weights_sha256") or ""),
        "config, SHA-256": model.config_sha256 if model else str(artifacts.at("config_sha256") or ""),
        "trained by medfuse": str(artifacts.at("version") or ""),
        "label leakage": "allowed" if leaks else "not allowed",
    }
    if artifacts.folds:
        told["folds"] = artifacts.folds
    if report is None:
        return told
    return told | {
        "manifest, SHA-256": report.manifest_sha256 or "not recorded",
        "measured by medfuse": report.medfuse_version,
        "measured at": report.created_at,
        "split": report.split,
        "studies": report.studies,
        "patients": report.patients,
        "rejected studies": len(report.rejected),
        "intervals": f"{report.confidence:.0%}, {report.draws} resamples by patient, seed {report.seed}",
        "operating points": report.point_rule
        or f"{'of each fold' if artifacts.folds else 'of the checkpoint'}, validation",
    }


def warnings_of(artifacts: RunArtifacts) -> tuple[str, ...]:
    """What a reader must know before quoting a figure."""
    report = artifacts.evaluation
    told = list(report.notes) if report is not None else []
    leaks = bool(artifacts.at("recipe.allow_leakage")) or (report is not None and report.leakage_allowed)
    if leaks and not any(note.startswith("LABEL LEAKAGE") for note in told):
        told.insert(0, LEAKAGE)
    if artifacts.splits.shared:
        told.insert(0, f"SHARED PATIENTS: {artifacts.splits.shared} patients are in more than one split of the run")
    return tuple(told)


def _data(artifacts: RunArtifacts) -> Section:
    splits = artifacts.splits
    rows = tuple((name, splits.studies[name], splits.patients[name]) for name in SPLITS)
    of_fold = " of the first fold" if artifacts.folds else ""
    tables = [
        Table(
            title=f"Splits{of_fold}",
            columns=("split", "studies", "patients"),
            rows=rows,
            note="Divided by patient; no patient is in two splits." if not splits.shared else "",
        )
    ]
    if artifacts.manifest:
        tables.append(_label_table(artifacts))
    report = artifacts.evaluation
    told: tuple[str, ...] = ()
    if report is not None and report.rejected:
        tables.append(
            Table(
                title="Studies without a result",
                columns=("study", "reason"),
                rows=tuple((each.study_instance_uid, each.reason) for each in report.rejected),
            )
        )
    if report is not None and report.familiar is not None:
        told = (
            f"{report.familiar} studies are like the training set by the checkpoint's own measure, "
            f"{report.unfamiliar or 0} are not.",
        )
    return Section(title="Data", paragraphs=told, tables=tuple(tables))


def _label_table(artifacts: RunArtifacts) -> Table:
    """PRESENT of those that are known, by split."""
    split_of = artifacts.splits.split_of
    names = [name for name in artifacts.at("label_set.findings") or () if name in artifacts.manifest[0].labels]
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        cells: list[Cell] = [name]
        for split in SPLITS:
            values = [
                row.labels.get(name) for row in artifacts.manifest if split_of.get(row.study_instance_uid) == split
            ]
            cells += [values.count("PRESENT"), values.count("ABSENT")]  # type: ignore[arg-type]
        rows.append(tuple(cells))
    columns = tuple(f"{split}, {value}" for split in SPLITS for value in ("PRESENT", "ABSENT"))
    return Table(title="Labels", columns=("finding", *columns), rows=tuple(rows))


def _finding_sections(report: EvaluationReport) -> list[Section]:
    sections = []
    for figures in report.findings:
        plots = finding_plots(figures)
        old = "" if plots else "This evaluation holds no curves; medfuse evaluate writes them."
        sections.append(
            Section(
                title=f"Finding: {figures.name}",
                paragraphs=tuple(filter(None, (old,))),
                tables=(finding_table(figures, report.confidence),),
                plots=plots,
            )
        )
    return sections


def _segment_sections(report: EvaluationReport) -> list[Section]:
    return [
        Section(
            title=f"Segment: {figures.name}",
            tables=(segment_table(figures, report.confidence),),
            plots=segment_plots(figures, report.cases),
        )
        for figures in report.segments
    ]


def _target_sections(report: EvaluationReport) -> list[Section]:
    return [
        Section(
            title=f"Target: {figures.name}",
            tables=target_tables(figures, report.confidence),
            plots=target_plots(figures),
        )
        for figures in report.targets
    ]


def _group_sections(report: EvaluationReport) -> list[Section]:
    sections = []
    if report.folds:
        sections.append(Section(title="Folds", tables=(fold_table(report.folds, report.confidence),)))
    for subgroups in report.subgroups:
        sections.append(
            Section(
                title=f"By {subgroups.column}",
                paragraphs=tuple(line.strip() for line in gap_lines(subgroups) if not line.strip().startswith("*")),
                tables=(group_table(f"Groups of {subgroups.column}", subgroups.groups, report.confidence),),
            )
        )
    if report.sites is not None:
        sites = report.sites
        sections.append(
            Section(
                title=f"Left-out sites: {sites.column}",
                paragraphs=tuple(line.strip() for line in site_lines(sites)),
                tables=(group_table("Each site, by a model that never saw it", sites.sites, report.confidence),),
            )
        )
    return sections


def _failures(report: EvaluationReport, shown: Sequence[ShownFailure]) -> Section | None:
    failures = tuple(shown) or plain_failures(report)
    if not failures:
        return None
    pictured = len({each.study_instance_uid for each in failures if each.picture})
    told = f" {pictured} studies are shown by a slice, with outlines of the reference." if pictured else ""
    return Section(
        title="Failures",
        paragraphs=(f"Where the model was most wrong, of each kind and name the worst first.{told}",),
        failures=failures,
    )


def plain_failures(report: EvaluationReport) -> tuple[ShownFailure, ...]:
    """The failures of an evaluation, without pictures."""
    return tuple(
        ShownFailure(study_instance_uid=each.study_instance_uid, kind=each.kind, name=each.name, told=each.told)
        for each in report.failures
    )


def _training(artifacts: RunArtifacts) -> Section | None:
    plots = loss_plots(artifacts.losses)
    of_fold = " of the first fold" if artifacts.folds else ""
    return Section(title=f"Training{of_fold}", plots=plots) if plots else None
