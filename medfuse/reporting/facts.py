"""What a run's own files say of the model, its input, its data and its training; each fact with its file and keys.

A fact is made from values alone. Where the values are not there, there is no fact, and an item stays with a person.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from medfuse.reporting.artifacts import SPLITS, RunArtifacts

CHECKPOINT = "best/checkpoint.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What an artifact supports.

    Args:
        text: One or two sentences.
        source: Which file and keys.
    """

    text: str
    source: str


FactMaker = Callable[[RunArtifacts], Fact | None]


def predicted(run: RunArtifacts) -> Fact | None:
    """What the model tells and delineates."""
    labels = run.at("label_set") or {}
    targets = [f"{target['name']} ({str(target['kind']).lower()})" for target in labels.get("targets") or ()]
    told = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("probabilities of findings", labels.get("findings") or ()),
            ("segments", labels.get("segments") or ()),
            ("targets", targets),
        )
        if names
    ]
    return _of_checkpoint(run, f"The model gives {'; '.join(told)}.", "label_set") if told else None


def technology(run: RunArtifacts) -> Fact | None:
    """The kind of model."""
    spec = run.at("spec") or {}
    if not spec:
        return None
    image, text, fusion = (spec.get(key) for key in ("image", "text", "fusion"))
    parts = [f"a {image} image encoder" if image else "", f"a {text} text encoder" if text else ""]
    joined = " and ".join(filter(None, parts))
    joined += f", joined by {fusion} fusion" if image and text and fusion else ""
    return _of_checkpoint(run, f"Deep learning: {joined}.", "spec.image, spec.text, spec.fusion")


def architecture(run: RunArtifacts) -> Fact | None:
    """The options of its parts."""
    spec = run.at("spec") or {}
    if not spec:
        return None
    told = [f"width {spec.get('width')}"]
    for part in ("image", "text", "fusion"):
        options = spec.get(f"{part}_options") or {}
        told += [f"{part} {key} {_value(value)}" for key, value in options.items() if value is not None]
    keys = "spec.width, spec.image_options, spec.text_options, spec.fusion_options"
    return _of_checkpoint(run, f"Options of the parts: {'; '.join(told)}.", keys)


def inputs(run: RunArtifacts) -> Fact | None:
    """Channels and report sections."""
    channels = run.at("recipe.channels") or ()
    sections = run.at("recipe.text_sections") or ()
    named = [f"{channel.get('name')} ({channel.get('modality') or 'any modality'})" for channel in channels]
    told = [f"Image channels: {', '.join(named)}."] if named else []
    if sections and run.at("spec.text"):
        told.append(f"Report sections: {', '.join(map(str, sections))}.")
    return _of_checkpoint(run, " ".join(told), "recipe.channels, recipe.text_sections") if told else None


def leakage(run: RunArtifacts) -> Fact | None:
    """Whether the text input may state the answer."""
    allowed = run.at("recipe.allow_leakage")
    if allowed is None:
        return None
    text = (
        "LABEL LEAKAGE: the text input holds report sections that state the answer."
        if allowed
        else "Report sections that state the answer (FINDINGS, IMPRESSION) are kept from the text input."
    )
    return _of_checkpoint(run, text, "recipe.allow_leakage, recipe.text_sections")


def preprocessing(run: RunArtifacts) -> Fact | None:
    """Grid, blocks, registration, gaps."""
    spacing, size = run.at("recipe.spacing_mm"), run.at("recipe.size")
    if not spacing or not size:
        return None
    gaps = "interpolated" if run.at("recipe.fill_gaps") else "not filled; such series are refused"
    text = (
        f"Images are resampled to {_times(spacing)} mm and read in blocks of {_times(size)} voxels; registration of "
        f"series to one another: {run.at('recipe.registration')}; missing slices are {gaps}."
    )
    keys = "recipe.spacing_mm, recipe.size, recipe.registration, recipe.fill_gaps"
    return _of_checkpoint(run, text, keys)


def augmentation(run: RunArtifacts) -> Fact | None:
    """What is done to training images."""
    options = run.at("config.training.augment") or {}
    if not options:
        return None
    told = "; ".join(f"{key} {_value(value)}" for key, value in options.items())
    return _of_checkpoint(run, f"Augmentation of training studies: {told}.", "config.training.augment")


def missing_inputs(run: RunArtifacts) -> Fact | None:
    """How absent channels and reports are met."""
    dropout = run.at("spec.modality_dropout")
    if dropout is None:
        return None
    text = (
        "A channel or report that a study lacks is marked as absent by a mask and not imputed; in training, inputs "
        f"were hidden with a probability of {dropout}."
    )
    return Fact(text=text, source=f"medfuse {run.at('version')}; {run.file(CHECKPOINT)}: spec.modality_dropout")


def partitions(run: RunArtifacts) -> Fact | None:
    """How many studies and patients each split has, and how they were drawn."""
    splits, data = run.splits, run.config.get("data") or {}
    counts = ", ".join(f"{name} {splits.studies[name]} ({splits.patients[name]} patients)" for name in SPLITS)
    text = f"Studies by split: {counts}."
    if data.get("folds") is not None:
        one = f"one of {data['folds']} folds is the test set"
        all_of_them = f"each of {run.folds} folds is the test set once, and the counts are of the first"
        whole = f"whole groups of the column {data['folds_by']}" if data.get("folds_by") else "whole patients"
        text += (
            f" Drawn at random by {whole}, balanced over the labels, seed {run.config.get('seed')}: "
            f"{all_of_them if run.folds else one}; validation is {data.get('validation_fraction')} of the others."
        )
    if data.get("shuffle_reports"):
        text += " Reports were given to other patients of the split, as a control."
    keys = "seed, data"
    return Fact(text=text, source=f"{run.file('splits.csv')}; {run.file('config.yaml')}: {keys}")


def disjoint(run: RunArtifacts) -> Fact | None:
    """At which level the splits are apart; checked on the file."""
    shared = run.splits.shared
    text = "No patient is in more than one split." if not shared else f"{shared} patients are in more than one split."
    return Fact(text=f"Split by patient. {text}", source=f"{run.file('splits.csv')}: patient_key, split")


def label_counts(run: RunArtifacts) -> Fact | None:
    """PRESENT of the known labels, by split; from the manifest."""
    told = []
    for name in run.at("label_set.findings") or ():
        counts = []
        for split in SPLITS:
            values = [
                row.labels.get(name) for row in run.manifest if run.splits.split_of.get(row.study_instance_uid) == split
            ]
            present, absent = (sum(value == state for value in values) for state in ("PRESENT", "ABSENT"))
            counts.append(f"{split} {present} of {present + absent}")
        told.append(f"{name} PRESENT in {', '.join(counts)}")
    if not run.manifest or not told:
        return None
    return Fact(
        text=f"{'; '.join(told)} (of those PRESENT or ABSENT).",
        source=f"manifest: label columns; {run.file('splits.csv')}",
    )


def modalities(run: RunArtifacts) -> Fact | None:
    """The modalities of the studies; from the manifest."""
    if not run.manifest:
        return None
    found = sorted({modality for row in run.manifest for modality in row.modalities})
    with_report = sum(row.report_count > 0 for row in run.manifest)
    delineated = sum(row.segmentation_count > 0 for row in run.manifest)
    text = (
        f"The manifest holds {len(run.manifest)} studies of {len({row.patient_key for row in run.manifest})} patients, "
        f"modalities {', '.join(found)}; {with_report} with a report, {delineated} with delineations."
    )
    return Fact(text=text, source="manifest: modalities, report_count, segmentation_count")


def initialisation(run: RunArtifacts) -> Fact | None:
    """Where the weights start."""
    if not run.at("config"):
        return None
    start = run.at("config.training.start_from")
    image, weights = run.at("spec.image_options.weights"), run.at("spec.text_options.weights")
    told = [f"The seed is {run.at('config.seed')}."]
    told.append(f"Encoders start from trained weights ({_name(start)})." if start else "")
    told.append(f"The image encoder starts from the weights {_name(image)}." if image else "")
    told.append("" if start or image else "What is not named here starts from random weights.")
    if weights:
        tuning = run.at("spec.text_options.tuning") or "as configured"
        told.append(f"The text encoder starts from the weights {_name(weights)} (tuning: {tuning}).")
    if digest := run.at("text_weights_sha256"):
        told.append(f"Their SHA-256 is {digest}.")
    keys = "config.seed, config.training.start_from, spec.image_options, spec.text_options, text_weights_sha256"
    return _of_checkpoint(run, " ".join(filter(None, told)), keys)


def training(run: RunArtifacts) -> Fact | None:
    """Hyper-parameters."""
    options = run.at("config.training") or {}
    told = [f"{key} {_value(value)}" for key, value in options.items() if _is_plain(key, value)]
    return _of_checkpoint(run, f"Training: {'; '.join(told)}.", "config.training") if told else None


def imbalance(run: RunArtifacts) -> Fact | None:
    """What was done about rare findings and small segments."""
    options = run.at("config.training") or {}
    if "finding_balance" not in options:
        return None
    share = (options.get("blocks") or {}).get("foreground_share")
    text = f"Balance of findings in the loss: {options['finding_balance']}."
    text += f" Share of training blocks that are centred on a segment: {share:.2g}." if share is not None else ""
    keys = "config.training.finding_balance, config.training.blocks.foreground_share"
    return _of_checkpoint(run, text, keys)


def selection(run: RunArtifacts) -> Fact | None:
    """Which epoch was kept."""
    select, epoch = run.at("config.training.select"), run.at("epoch")
    if select is None or epoch is None:
        return None
    kept = (
        "the last epoch was kept" if select == "last" else f"the epoch was chosen on the validation split by {select}"
    )
    text = f"Of {run.at('config.training.epochs')} epochs, {kept}: epoch {epoch}, counted from 0."
    return _fitted(run, text, "config.training.select, config.training.epochs, epoch")


def ensembling(run: RunArtifacts) -> Fact | None:
    """Whether several models answer."""
    if not run.folds:
        return _of_checkpoint(run, "One checkpoint was measured; no ensemble.", "weights_sha256")
    text = (
        f"A cross-validation of {run.folds} folds; each study was scored by the fold that left it out, not by a mean."
    )
    return Fact(text=text, source="folds.json: folds")


def calibration(run: RunArtifacts) -> Fact | None:
    """How logits become probabilities and calls."""
    fitted = run.at("calibration") or {}
    told = []
    for name, one in fitted.items():
        if one.get("slope") is not None:
            told.append(f"{name} by Platt's line, slope {one['slope']:.3g}, intercept {one.get('intercept', 0):.3g}")
        elif one.get("temperature") is not None:
            told.append(f"{name} by temperature {one['temperature']:.3g}")
    if not told:
        return None
    return _fitted(run, f"Probabilities are scaled, fitted on the validation split: {'; '.join(told)}.", "calibration")


def output_form(run: RunArtifacts) -> Fact | None:
    """Probabilities, and from where a finding is called."""
    points = {
        name: one["operating_point"]
        for name, one in (run.at("calibration") or {}).items()
        if one.get("operating_point") is not None
    }
    if not points:
        return None
    told = "; ".join(f"{name} from {point:.3f}" for name, point in points.items())
    text = f"A finding is a probability; it is called PRESENT at its operating point, chosen on validation: {told}."
    return _fitted(run, text, "calibration.*.operating_point")


def conformal(run: RunArtifacts) -> Fact | None:
    """Prediction sets of the checkpoint."""
    fitted = {name: one["conformal"] for name, one in (run.at("calibration") or {}).items() if one.get("conformal")}
    if not fitted:
        return None
    told = "; ".join(f"{name} at an error rate of {one.get('alpha')}" for name, one in fitted.items())
    return _fitted(run, f"Conformal prediction sets: {told}.", "calibration.*.conformal")


def familiarity(run: RunArtifacts) -> Fact | None:
    """Whether the model tells studies unlike its training set."""
    fitted = run.at("familiarity")
    if not fitted:
        return None
    text = (
        "The model tells when a study is unlike its training set: a distance above "
        f"{fitted['threshold']:.3g}, which {fitted['false_alarms']:.0%} of held-out studies exceed "
        f"({fitted['held_out_studies']} studies)."
    )
    return _fitted(run, text, "familiarity")


def software(run: RunArtifacts) -> Fact | None:
    """The version that trained it; versions of other libraries are not recorded."""
    version = run.at("version")
    return _of_checkpoint(run, f"Trained by medfuse {version}.", "version") if version else None


def identity(run: RunArtifacts) -> Fact | None:
    """The hashes that name the model and its config."""
    weights, config = run.at("weights_sha256"), run.at("config_sha256")
    if not weights:
        return None
    text = f"Weights SHA-256 {weights}; config SHA-256 {config}."
    return _fitted(run, text, "weights_sha256, config_sha256")


def _fitted(run: RunArtifacts, text: str, keys: str) -> Fact:
    """A fact of what each fold of a cross-validation fits anew."""
    of_fold = " These values are of the first fold." if run.folds else ""
    return _of_checkpoint(run, text + of_fold, keys)


def _of_checkpoint(run: RunArtifacts, text: str, keys: str) -> Fact:
    return Fact(text=text, source=f"{run.file(CHECKPOINT)}: {keys}")


def _is_plain(key: str, value: Any) -> bool:
    return value is not None and not isinstance(value, dict) and key not in ("start_from", "workers")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _name(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _name(value: Any) -> str:
    """The last part of what may be a path: where files lie on a machine is nobody's business."""
    return PurePath(str(value).replace("\\", "/")).name


def _times(values: Any) -> str:
    return " x ".join(f"{value:g}" for value in values)
