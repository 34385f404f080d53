"""Measure the evaluation: how long a whole report takes, whether its figures are those of the references, and what the
issue asks of calibration and of conformal sets.

    python tests/benchmarks/bench_evaluation.py                                    # time, on made predictions
    python tests/benchmarks/bench_evaluation.py --part references                  # figures against their references
    python tests/benchmarks/bench_evaluation.py --part runs --run RUNS/hippocampus --manifest hippocampus.csv \
        --run RUNS/lidc-nodules --manifest nodules.csv --output-dir DIR

`--part runs` takes cross-validations of `medfuse train --folds 5` (one `--manifest` each), scores what is not scored
yet, then times the report from the stored predictions and reads ECE and coverage off it. Two cores: OMP_NUM_THREADS=2.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
MOST_SECONDS, MOST_ECE, COVERAGE = 60.0, 0.08, (0.86, 0.94)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("time", "references", "runs"), action="append")
    parser.add_argument("--run", type=Path, action="append", default=[])
    parser.add_argument("--manifest", type=Path, action="append", default=[])
    parser.add_argument("--output-dir", type=Path)
    parser.add_argument("--draws", type=int, default=2000)
    given = parser.parse_args()
    if len(given.run) != len(given.manifest):
        parser.error("give one --manifest a --run")
    parts = given.part or (["time", "runs"] if given.run else ["time"])
    rows: list[tuple[str, str, str, bool | None]] = []
    if "time" in parts:
        rows += [made_report(name, given.draws) for name in MADE]
    if "references" in parts:
        rows.append(references())
    if "runs" in parts:
        for run, manifest in zip(given.run, given.manifest, strict=True):
            rows += of_run(run, manifest, given.output_dir or run, given.draws)
    for what, found, target, met in rows:
        verdict = "" if met is None else "met" if met else "MISSED"
        sys.stdout.write(f"{what:<64} {found:>16}  {target:<20} {verdict}\n")
    return int(any(met is False for *_, met in rows))


MADE = {
    "hippocampus": {"studies": 200, "patients": 200, "findings": 3, "segments": 2},
    "lidc-nodules": {"studies": 774, "patients": 440, "findings": 1, "segments": 1},
}


def made_report(name: str, draws: int) -> tuple[str, str, str, bool | None]:
    """Seconds of the whole report of five folds, with two columns of groups, from predictions that are made here."""
    from medfuse.evaluation import Asked, evaluate_folds, write_evaluation

    folds, model = made_folds(**MADE[name])
    started = time.perf_counter()
    report = evaluate_folds(folds, model, asked=Asked(by=("sex", "age:10"), lesions=()), draws=draws)
    with tempfile.TemporaryDirectory() as folder:
        write_evaluation(report, Path(folder) / "evaluation.json")
    took = time.perf_counter() - started
    what = f"{name}: report of five made folds, {report.studies} studies, {draws} draws"
    return what, f"{took:.1f} s", f"under {MOST_SECONDS:.0f} s", took < MOST_SECONDS


def made_folds(studies: int, patients: int, findings: int, segments: int):
    """Five folds of made predictions, as scoring gives them."""
    from medfuse.domain import LabelSet, LabelValue, ModelIdentity
    from medfuse.evaluation import Case, Subject
    from medfuse.evaluation.cases import Volumes
    from medfuse.evaluation.run import TOLERANCES_MM, Collected

    rng = np.random.default_rng(0)
    labels = LabelSet(
        findings=tuple(f"finding {n}" for n in range(findings)), segments=tuple(f"segment {n}" for n in range(segments))
    )
    model = ModelIdentity(name="made", version="0", weights_sha256="", config_sha256="")
    collected = {}
    for fold in range(5):
        cases = []
        for n in range(fold, studies, 5):
            truth = rng.random(findings) < 0.4
            odds = rng.normal(size=findings) * 1.5 + 2 * truth - 1
            said = 1 / (1 + np.exp(-odds))
            dice = rng.beta(30, 4, segments)
            volume = rng.normal(3000, 300, segments)
            cases.append(
                Case(
                    study_instance_uid=f"1.2.{n}",
                    patient_key=f"p{n % patients}",
                    probabilities=dict(zip(labels.findings, said.tolist(), strict=True)),
                    uncalibrated=dict(zip(labels.findings, (said**2).tolist(), strict=True)),
                    labels={
                        name: LabelValue.PRESENT if value else LabelValue.ABSENT
                        for name, value in zip(labels.findings, truth, strict=True)
                    },
                    prediction_sets=dict.fromkeys(labels.findings, (LabelValue.PRESENT,)),
                    dice=dict(zip(labels.segments, dice.tolist(), strict=True)),
                    hd95_mm=dict(zip(labels.segments, (5 * (1 - dice)).tolist(), strict=True)),
                    surface_dice={
                        name: dict.fromkeys(TOLERANCES_MM, float(value))
                        for name, value in zip(labels.segments, dice, strict=True)
                    },
                    volumes={
                        name: Volumes(predicted_mm3=float(value) * 1.02, reference_mm3=float(value))
                        for name, value in zip(labels.segments, volume, strict=True)
                    },
                    groups={"sex": "F" if n % 2 else "M", "age:10": f"{50 + 10 * (n % 4)} to {59 + 10 * (n % 4)}"},
                )
            )
        subject = Subject(
            label_set=labels,
            split="test",
            operating_points=dict.fromkeys(labels.findings, 0.5),
            calibrated=frozenset(labels.findings),
            model=model,
        )
        collected[f"fold-{fold}"] = Collected(cases=tuple(cases), rejected=(), subject=subject)
    return collected, model


def references() -> tuple[str, str, str, bool | None]:
    """The tests that hold every figure to its reference implementation."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/contract/test_metric_references.py",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else "no output"
    return "figures equal their references to 1e-6", told.split(" in ")[0], "all pass", ended.returncode == 0


def of_run(run: Path, manifest: Path, folder: Path, draws: int) -> list[tuple[str, str, str, bool | None]]:
    """Time of the report from stored predictions, ECE before and after scaling, coverage of the conformal sets."""
    output = folder / f"evaluation-{run.name}.json"
    command = [str(Path(sys.executable).with_name("medfuse")), "evaluate", str(run), "--manifest", str(manifest)]
    command += ["--output", str(output), "--draws", str(draws), "--by", "has_report"]
    took = 0.0
    for _ in ("scores what is not scored yet", "from what is stored"):
        started = time.perf_counter()
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        took = time.perf_counter() - started
        if ended.returncode not in (0, 1):
            return [(f"{run.name}: {ended.stderr.strip()[:200]}", "", "", False)]
    report = json.loads(output.read_text(encoding="utf-8"))
    rows = [
        (
            f"{run.name}: report from stored predictions, {report['studies']} studies",
            f"{took:.1f} s",
            f"under {MOST_SECONDS:.0f} s",
            took < MOST_SECONDS,
        )
    ]
    for finding in report["findings"]:
        name = f"{run.name}, {finding['name']}"
        after, before = finding["calibration"], finding["uncalibrated"]
        ece = after["ece"]["value"]
        chance = f"by chance {after['ece_by_chance']:.3f}" if after["ece_by_chance"] is not None else ""
        if before is not None:
            rows.append((f"{name}: ECE before scaling", f"{before['ece']['value']:.3f}", "", None))
        if ece is not None:
            rows.append((f"{name}: ECE after scaling ({chance})", f"{ece:.3f}", f"at most {MOST_ECE}", ece <= MOST_ECE))
        sets = finding["conformal"]
        if sets is None:
            rows.append((f"{name}: conformal sets", "none stored", "86 to 94 %", None))
        else:
            covered = sets["coverage"]["value"]
            met = COVERAGE[0] <= covered <= COVERAGE[1]
            rows.append((f"{name}: coverage of the conformal sets", f"{covered:.1%}", "86 to 94 %", met))
            rows.append((f"{name}: sets of one value", f"{sets['sure']['value']:.1%}", "", None))
    return rows


if __name__ == "__main__":
    sys.exit(main())
