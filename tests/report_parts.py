"""A run folder and an evaluation of it, made without a network, for the tests of reports."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medfuse.domain import (
    Familiarity,
    LabelSet,
    LabelValue,
    ModelIdentity,
    Rejected,
    Target,
    TargetKind,
    TargetPrediction,
)
from medfuse.evaluation import Asked, Case, EvaluationReport, Subject, evaluate
from medfuse.evaluation.cases import Volumes

GRADE = Target(name="grade", kind=TargetKind.GRADES, classes=("none", "mild", "severe"))
AGE = Target(name="age", kind=TargetKind.NUMBER, unit="years")
LABELS = LabelSet(findings=("large",), segments=("anterior", "posterior"), targets=(GRADE, AGE))
WEIGHTS, CONFIG = "ab" * 32, "cd" * 32
STUDIES = 12

CHECKPOINT: dict[str, Any] = {
    "name": "small",
    "label_set": {
        "findings": ["large"],
        "segments": ["anterior", "posterior"],
        "targets": [
            {"name": "grade", "kind": "GRADES", "classes": ["none", "mild", "severe"]},
            {"name": "age", "kind": "NUMBER", "unit": "years"},
        ],
    },
    "recipe": {
        "channels": [{"name": "t1", "modality": "MR"}],
        "spacing_mm": [1.0, 1.0, 2.0],
        "size": [16, 16, 8],
        "text_sections": ["INDICATION", "HISTORY"],
        "allow_leakage": False,
        "registration": "auto",
        "fill_gaps": False,
    },
    "spec": {
        "image": "unet",
        "text": "transformer",
        "fusion": "concat",
        "width": 32,
        "modality_dropout": 0.1,
        "image_options": {"features": [4, 8]},
        "text_options": {"weights": "/somewhere/private/bert", "tuning": "frozen"},
        "fusion_options": {},
    },
    "config": {
        "name": "small",
        "seed": 3,
        "data": {"manifest": None, "folds": 4, "test_fold": 0, "validation_fraction": 0.1},
        "training": {
            "epochs": 5,
            "learning_rate": 0.002,
            "select": "last",
            "start_from": None,
            "finding_balance": "none",
            "augment": {"noise": 0.1},
            "blocks": {"foreground_share": 0.25, "findings": "shown"},
        },
    },
    "config_sha256": CONFIG,
    "epoch": 4,
    "calibration": {
        "large": {
            "temperature": 1.5,
            "operating_point": 0.5,
            "conformal": {"alpha": 0.1, "present": 0.4, "absent": 0.6, "present_cases": 9, "absent_cases": 9},
        }
    },
    "familiarity": {
        "threshold": 7.5,
        "false_alarms": 0.05,
        "training_studies": 20,
        "held_out_studies": 10,
        "sha256": "ef" * 32,
    },
    "text_weights_sha256": "12" * 32,
    "version": "0.1.0",
    "weights_sha256": WEIGHTS,
    "schema_version": 1,
}


def make_cases(uids: Sequence[str]) -> list[Case]:
    """Cases of every kind of truth; some findings are missed, some segments poor."""
    random = np.random.default_rng(0)
    cases = []
    for n, uid in enumerate(uids):
        present = n % 2 == 1
        said = float(np.clip(0.5 + (0.25 if present else -0.25) + random.normal(0, 0.25), 0.01, 0.99))
        grades = [0.2, 0.5, 0.3] if n % 3 else [0.6, 0.3, 0.1]
        cases.append(
            Case(
                study_instance_uid=uid,
                patient_key=f"p{n:03d}",
                probabilities={"large": said},
                uncalibrated={"large": said**2},
                labels={"large": LabelValue.PRESENT if present else LabelValue.ABSENT},
                prediction_sets={"large": (LabelValue.PRESENT,) if said > 0.5 else (LabelValue.ABSENT,)},
                dice={"anterior": 0.9 - 0.05 * n, "posterior": 0.95},
                hd95_mm={"anterior": 1.0 + n, "posterior": 1.0},
                surface_dice={"anterior": {2.0: 0.9}, "posterior": {2.0: 0.99}},
                volumes={
                    name: Volumes(predicted_mm3=1000.0 + 40 * n, reference_mm3=1000.0 + 30 * n)
                    for name in LABELS.segments
                },
                targets={
                    "grade": TargetPrediction(
                        name="grade", kind=TargetKind.GRADES, classes=GRADE.classes, probabilities=tuple(grades)
                    ),
                    "age": TargetPrediction(name="age", kind=TargetKind.NUMBER, unit="years", value=50.0 + n),
                },
                target_values={"grade": float(n % 3), "age": 52.0 + n},
                familiarity=Familiarity(distance=float(n), threshold=9.5),
                groups={"sex": "F" if n % 2 else "M"},
            )
        )
    return cases


def make_evaluation(uids: Sequence[str], *, leaks: bool = False, labels: LabelSet = LABELS) -> EvaluationReport:
    """The evaluation of the run that `write_run` writes."""
    model = ModelIdentity(
        name="small", version="0.1.0", weights_sha256=WEIGHTS, config_sha256=CONFIG, leakage_allowed=leaks
    )
    subject = Subject(label_set=labels, split="test", operating_points={"large": 0.5}, model=model)
    detail = "study 9.9 is not under /somewhere/private any more"
    rejected = [Rejected(study_instance_uid="9.9", accession_number="A9", reason="STUDY_NOT_FOUND", detail=detail)]
    return evaluate(make_cases(uids), subject, rejected=rejected, asked=Asked(by=("sex",)), draws=30)


def write_run(run: Path, uids: Sequence[str], checkpoint: dict[str, Any] = CHECKPOINT) -> None:
    """A run folder that holds all but weights; the studies are its test split."""
    (run / "best").mkdir(parents=True)
    (run / "best" / "checkpoint.json").write_text(json.dumps(checkpoint), encoding="utf-8")
    config = checkpoint["config"] | {"data": checkpoint["config"]["data"] | {"manifest": "/somewhere/private/m.csv"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["study_instance_uid", "patient_key", "split"])
    writer.writerows([uid, f"p{n:03d}", "test"] for n, uid in enumerate(uids))
    writer.writerows([[f"8.{n}", f"q{n:03d}", "train" if n else "validation"] for n in range(9)])
    (run / "splits.csv").write_text(table.getvalue(), encoding="utf-8")
    losses = ["epoch,train/total,validation/total,validation/dice,validation/auroc", "0,2.5,,,", "1,1.5,1.8,0.7,nan"]
    (run / "losses.csv").write_text("\n".join(losses) + "\n", encoding="utf-8")
