"""What an evaluation says: measures, uncertainty, results, groups, failures; each fact with its file and keys."""

from collections.abc import Iterator

from medfuse.evaluation import EvaluationReport
from medfuse.evaluation.figures import Subgroups
from medfuse.metrics import Estimate
from medfuse.reporting.artifacts import RunArtifacts
from medfuse.reporting.facts import Fact


def test_size(run: RunArtifacts) -> Fact | None:
    """How many studies and patients were measured, and how many could not be."""
    report = run.evaluation
    if report is None:
        return None
    text = (
        f"Measured on the {report.split} split: {report.studies} studies of {report.patients} patients; "
        f"{len(report.rejected)} studies of the split have no result."
    )
    return _fact(run, text, "studies, patients, rejected")


def rejections(run: RunArtifacts) -> Fact | None:
    """Why studies have no result, by reason."""
    report = run.evaluation
    if report is None or not report.rejected:
        return None
    reasons = sorted({each.reason for each in report.rejected})
    told = ", ".join(f"{reason} {sum(each.reason == reason for each in report.rejected)}" for reason in reasons)
    return _fact(run, f"Studies without a result, by reason: {told}.", "rejected[].reason")


def missing_labels(run: RunArtifacts) -> Fact | None:
    """Labels that took no part."""
    report = run.evaluation
    if report is None or not report.findings:
        return None
    told = "; ".join(f"{one.name} {one.uncertain} and {one.not_assessed}" for one in report.findings)
    lacking = sum(bool(case.missing) for case in report.cases)
    text = f"Uncertain and not assessed labels take no part: {told}. {lacking} measured studies lacked an input."
    return _fact(run, text, "findings[].uncertain, findings[].not_assessed, cases[].missing")


def measures(run: RunArtifacts) -> Fact | None:
    """What was measured."""
    report = run.evaluation
    if report is None:
        return None
    told = []
    if report.findings:
        told.append("AUROC, average precision, sensitivity and specificity of findings")
    if any(one.ppv is not None for one in report.findings):
        told.append("PPV, NPV, F1 and Matthews' correlation at the operating point")
    if any(one.calibration is not None for one in report.findings):
        told.append("calibration (ECE, Brier score, slope, intercept, reliability curve)")
    if any(one.decision is not None for one in report.findings):
        told.append("decision curves")
    if any(one.selective is not None for one in report.findings):
        told.append("risk against coverage")
    if report.segments:
        told.append("Dice and the 95th percentile of the surface distance of segments")
    if any(one.surface_dice is not None for one in report.segments):
        told.append(f"normalised surface distance at {report.tolerance_mm} mm")
    if any(one.volume_agreement is not None for one in report.segments):
        told.append("volume errors with limits of agreement")
    if any(one.detection is not None for one in report.segments):
        told.append("FROC of lesions")
    told += [f"{', '.join(one.measures)} of {one.name}" for one in report.targets]
    return _fact(run, f"Measured: {'; '.join(told)}.", "findings, segments, targets")


def uncertainty(run: RunArtifacts) -> Fact | None:
    """How the intervals were made."""
    report = run.evaluation
    if report is None:
        return None
    methods = sorted({one.method for _, one in _main(report) if one.method})
    text = (
        f"Each figure has a {report.confidence:.0%} bootstrap interval by patient, {report.draws} resamples, seed "
        f"{report.seed}; made by {', '.join(methods)}."
    )
    return _fact(run, text, "confidence, draws, seed, findings[].*.method, segments[].*.method")


def results(run: RunArtifacts) -> Fact | None:
    """The main figures with their intervals."""
    report = run.evaluation
    told = [] if report is None else [f"{name} {_told(one)}" for name, one in _main(report)]
    return _fact(run, f"{'; '.join(told)}.", "findings, segments, targets") if told else None


def calls(run: RunArtifacts) -> Fact | None:
    """Diagnostic accuracy at the operating points, with counts."""
    report = run.evaluation
    if report is None:
        return None
    told = []
    for one in report.findings:
        if one.operating_point is None and one.calls is None:
            continue
        shown = {"sensitivity": one.sensitivity, "specificity": one.specificity, "PPV": one.ppv, "NPV": one.npv}
        told.append(f"{one.name}: " + ", ".join(f"{k} {_told(v)}" for k, v in shown.items() if v is not None))
    keys = "findings[].sensitivity, .specificity, .ppv, .npv, .calls, .operating_point"
    return _fact(run, f"{'; '.join(told)}.", keys) if told else None


def calibrated(run: RunArtifacts) -> Fact | None:
    """Calibration as measured."""
    report = run.evaluation
    told = [
        f"{one.name}: ECE {_told(one.calibration.ece)}, slope {_told(one.calibration.slope)}, "
        f"intercept {_told(one.calibration.intercept)}"
        for one in (report.findings if report is not None else ())
        if one.calibration is not None
    ]
    return _fact(run, f"Calibration of {'; '.join(told)}.", "findings[].calibration") if told else None


def groups(run: RunArtifacts) -> Fact | None:
    """Subgroups and the gap to look at first."""
    report = run.evaluation
    if report is None or not report.subgroups:
        return None
    told = [f"{one.column}: {_worst_gap(one)}" for one in report.subgroups]
    return _fact(run, f"Figures by group: {'; '.join(told)}.", "subgroups")


def group_sizes(run: RunArtifacts) -> Fact | None:
    """How many measured studies each group has."""
    report = run.evaluation
    if report is None or not report.subgroups:
        return None
    told = "; ".join(
        f"{one.column}: " + ", ".join(f"{group.value} {group.studies}" for group in one.groups)
        for one in report.subgroups
    )
    return _fact(run, f"Measured studies by group: {told}.", "subgroups[].groups[].studies")


def sites(run: RunArtifacts) -> Fact | None:
    """Generalisation to sites that were left out of training."""
    report = run.evaluation
    if report is None or report.sites is None:
        return None
    told = "; ".join(
        f"{name} from {report.sites.lowest[name]:.3f} to {report.sites.highest[name]:.3f}, mean {mean:.3f}"
        for name, mean in report.sites.mean.items()
    )
    count = len(report.sites.sites)
    text = f"{count} sites of the column {report.sites.column}, each scored by a model trained without it: {told}."
    return _fact(run, text, "sites")


def internal(run: RunArtifacts) -> Fact | None:
    """What the measured split is."""
    report = run.evaluation
    if report is None:
        return None
    text = f"The measured studies are the run's own {report.split} split: internal data"
    if report.split != "test":
        text += "; they are no test set, and the figures say nothing of new patients"
    return _fact(run, f"{text}.", "split, studies, patients")


def failures(run: RunArtifacts) -> Fact | None:
    """The studies to look at, counted by kind."""
    report = run.evaluation
    if report is None or not report.failures:
        return None
    kinds = sorted({(each.name, each.kind) for each in report.failures})
    told = "; ".join(
        f"{name}: {sum((each.name, each.kind) == (name, kind) for each in report.failures)} {kind}"
        for name, kind in kinds
    )
    return _fact(run, f"Studies listed, at most ten of each kind: {told}.", "failures")


def robustness(run: RunArtifacts) -> Fact | None:
    """What was kept from the model, or averaged."""
    report = run.evaluation
    if report is None:
        return None
    told = [note for note in report.notes if note.startswith(("WITHOUT", "SHUFFLED", "AUGMENTED"))]
    return _fact(run, " ".join(f"{note}." for note in told), "notes, without") if told else None


def unfamiliar(run: RunArtifacts) -> Fact | None:
    """How many measured studies are unlike the training set."""
    report = run.evaluation
    if report is None or report.familiar is None:
        return None
    text = (
        f"By the checkpoint's own measure {report.unfamiliar or 0} of "
        f"{report.familiar + (report.unfamiliar or 0)} measured studies are unlike the training set."
    )
    return _fact(run, text, "familiar, unfamiliar")


def _main(report: EvaluationReport) -> Iterator[tuple[str, Estimate]]:
    for finding in report.findings:
        yield f"{finding.name}, AUROC", finding.auroc
    for segment in report.segments:
        yield f"{segment.name}, Dice", segment.dice
    for target in report.targets:
        yield from ((f"{target.name}, {measure}", one) for measure, one in target.measures.items())


def _worst_gap(subgroups: Subgroups) -> str:
    gaps = [gap for gap in subgroups.gaps if gap.measure == subgroups.worst]
    if not gaps:
        return "no two groups have patients enough to be compared"
    gap = gaps[0]
    return (
        f"the gap to look at first is {gap.measure}, {_told(gap.difference)}, {gap.best} against {gap.worst}, "
        f"the largest of {gap.pairs} pairs"
    )


def _told(one: Estimate) -> str:
    if one.value is None:
        return f"undefined ({one.reason})"
    interval = "no interval" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
    return f"{one.value:.3f} ({interval}; n={one.n})"


def _fact(run: RunArtifacts, text: str, keys: str) -> Fact:
    return Fact(text=text, source=f"{run.evaluation_name}: {keys}")
