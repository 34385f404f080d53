"""The sections of a planned config, each value with its reason."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from medfuse.data.sides import names_a_side
from medfuse.domain.labels import TargetKind
from medfuse.domain.report import SAFE_SECTIONS
from medfuse.domain.study import Modality
from medfuse.planning.commented import Noted, Tree
from medfuse.planning.fingerprint import ChannelPrint, Fingerprint
from medfuse.planning.network import BATCH_SHARE, COARSEST, FEW_VOXELS, WIDE_PERCENTILE, NetworkPlan
from medfuse.planning.schedule import Schedule
from medfuse.planning.spacing import COARSE_PERCENTILE
from medfuse.planning.splits import ENOUGH_TO_CHOOSE, WANTED_VALIDATION, Splits

TEXT_SHARE = 0.05
"""Share of the studies that need text before a model reads any."""
MOST_WORKERS = 8
WIDTH = 64
TINY_SHARE = 0.001
"""Share of the input below which a segment is tiny."""
RARE_SHARE = 0.2
"""Share of a finding's studies below which its rarer class is weighted up."""
AXES = ("left-right", "front-back", "head-foot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Everything that was decided.

    Args:
        fingerprint: The data.
        manifest: The manifest.
        name: Name of the run.
        findings: Findings that can be learnt.
        splits: How the patients are divided.
        network: Spacing, size, batch and network.
        schedule: How long.
        training_studies: Studies to train on, about.
    """

    fingerprint: Fingerprint
    manifest: Path
    name: str
    findings: tuple[str, ...]
    splits: Splits
    network: NetworkPlan
    schedule: Schedule
    training_studies: int

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the segments."""
        return tuple(segment.name for segment in self.fingerprint.segments)

    @property
    def answers(self) -> bool:
        """Whether anything is asked of a study as a whole: a finding or a target."""
        return bool(self.findings or self.fingerprint.targets)

    @property
    def reads_text(self) -> bool:
        """Whether enough studies have text that a model may read."""
        text = self.fingerprint.text
        return bool(text.with_input) and text.with_input >= TEXT_SHARE * self.fingerprint.usable


def sections(draft: Draft) -> Tree:
    """The config as a tree of values with their reasons."""
    return {
        "name": Noted(value=draft.name, why="The config file's name; it stands on every prediction."),
        "seed": Noted(value=0, why="Any number: splits, weights and augmentation follow from it."),
        "data": _data(draft),
        "labels": _labels(draft),
        "recipe": _recipe(draft),
        "model": _model(draft),
        "training": _training(draft),
    }


def _data(draft: Draft) -> Tree:
    splits, patients = draft.splits, draft.fingerprint.patients
    return {
        "manifest": Noted(value=str(draft.manifest.resolve()), why="What was planned for."),
        "folds": Noted(
            value=splits.folds,
            why=f"{patients} patients: a test split of about {splits.test}.",
        ),
        "test_fold": Noted(value=0, why="The first; the others give the same figures on other patients."),
        "validation_fraction": Noted(
            value=splits.validation_fraction,
            why=(
                f"About {splits.validation} of the other {patients - splits.test} patients: {WANTED_VALIDATION} are "
                "wanted to calibrate, within a tenth and a fifth of them."
            ),
        ),
    }


def _labels(draft: Draft) -> Tree:
    counts = draft.fingerprint.findings
    said = [
        f"{name} {counts[name].get('PRESENT', 0)} present, {counts[name].get('ABSENT', 0)} absent"
        for name in draft.findings
    ]
    regions = [
        f"{one.name} in {one.studies} of {draft.fingerprint.delineated} studies, {one.median_ml:.3g} ml"
        for one in draft.fingerprint.segments
    ]
    return {
        "findings": Noted(
            value=list(draft.findings),
            why=f"The manifest's labels that have both classes: {'; '.join(said) or 'none'}.",
            itemised=True,
        ),
        **({"targets": _targets(draft)} if draft.fingerprint.targets else {}),
        "segments": Noted(
            value=list(draft.segments),
            why=f"The regions that the delineations name (median volume): {'; '.join(regions) or 'none'}.",
            itemised=True,
        ),
    }


def _targets(draft: Draft) -> Noted:
    targets = draft.fingerprint.targets
    said = []
    for one in targets:
        values = ", ".join(f"{name} {count}" for name, count in one.counts.items())
        said.append(f"{one.name} {values or f'{one.low:g} to {one.high:g} in {one.known} studies'}")
    words = any(one.kind is TargetKind.CLASSES for one in targets)
    ordered = " Where classes have an order, list them in it and write GRADES." if words else ""
    value = [
        {"name": one.name, "kind": one.kind.value, **({"classes": list(one.counts)} if one.counts else {})}
        for one in targets
    ]
    return Noted(
        value=value, why=f"The manifest's targets, with their studies: {'; '.join(said)}.{ordered}", itemised=True
    )


def _recipe(draft: Draft) -> Tree:
    text = draft.fingerprint.text
    there = [name.value for name in SAFE_SECTIONS if text.sections.get(name.value)]
    told = ", ".join(f"{name} {text.sections[name]}" for name in there) or "none"
    recipe: dict[str, Any] = {
        "channels": Noted(
            value=[_channel(one, findings=draft.answers) for one in draft.fingerprint.channels],
            why=_about_channels(draft),
            itemised=True,
        ),
        "spacing_mm": Noted(value=list(draft.network.spacing_mm), why=_about_spacing(draft.network)),
        "size": Noted(value=list(draft.network.shape.size), why=_about_size(draft.network)),
        "text_sections": Noted(
            value=there or [name.value for name in SAFE_SECTIONS],
            why=(
                f"Of the sections that are written before the images are read, those that occur: {told} of "
                f"{draft.fingerprint.usable} studies; {text.median_words} words in the middle, {text.long_words} in a "
                "long one."
            ),
        ),
    }
    return recipe


def _channel(channel: ChannelPrint, *, findings: bool) -> dict[str, Any]:
    if channel.preset:
        rule: dict[str, Any] = {"preset": channel.preset}
    else:
        rule = {"name": channel.name, "modality": channel.modality.value}
    window = _window(channel, findings=findings)
    return rule | ({"window": window} if window else {})


def _window(channel: ChannelPrint, *, findings: bool) -> dict[str, float] | None:
    """The window of a channel in absolute units; None for one that is standardised."""
    seen = channel.intensities
    if seen is None or channel.modality not in (Modality.CT, Modality.PT):
        return None
    if channel.modality is Modality.PT:
        return {"low": 0.0, "high": max(1.0, float(round(max(seen.high, seen.body_high if findings else 0.0), 1)))}
    low, high = (min(seen.low, seen.body_low), max(seen.high, seen.body_high)) if findings else (seen.low, seen.high)
    low, high = 10.0 * round(low / 10), 10.0 * round(high / 10)
    return {"low": low, "high": max(high, low + 10)}


def _about_channels(draft: Draft) -> str:
    channels = draft.fingerprint.channels
    counts = ", ".join(f"{one.name} {one.studies}" for one in channels)
    said = [f"Of {draft.fingerprint.usable} studies have: {counts}."]
    if draft.network.asked.channels > 1:
        said.append("The first is the reference: what most studies have and, of those, the finest.")
    if any(_window(one, findings=False) is None for one in channels):
        said.append("Values in arbitrary units (MR) need no window: each study is standardised by its own foreground.")
    said += [_about_window(one, draft) for one in channels if _window(one, findings=False)]
    return " ".join(said)


def _about_window(channel: ChannelPrint, draft: Draft) -> str:
    seen = channel.intensities
    if seen is None:
        return ""
    if channel.modality is Modality.PT:
        return f"The window of {channel.name} runs from 0 to the 99.5th percentile {seen.foreground}, {seen.high:.1f}."
    values = f"0.5th and 99.5th percentile {seen.foreground}, {seen.low:.0f} and {seen.high:.0f}"
    if draft.answers and seen.foreground == "inside the segments":
        values += f" (outside the air {seen.body_low:.0f} and {seen.body_high:.0f}: the wider, for the findings' sake)"
    return f"The window of {channel.name} is the {values}, to tens of HU."


def _about_spacing(network: NetworkPlan) -> str:
    if network.coarse_axis is None:
        why = "The median of the studies along each axis"
    else:
        why = (
            f"The median of the studies, and along the coarse {AXES[network.coarse_axis]} axis the "
            f"{COARSE_PERCENTILE:.0f}th percentile"
        )
    if network.was_coarsened:
        spacing = " x ".join(f"{value:g}" for value in network.data_spacing_mm)
        why += (
            f" would be {spacing} mm; coarser (at most {COARSEST:g} times, and {FEW_VOXELS:g} voxels across a small "
            "segment), so that the input shows more of a study, which findings want"
        )
    return f"{why}. A median study is {_by(network.median_shape)} voxels then."


def _about_size(network: NetworkPlan) -> str:
    batch = network.batch
    is_wide = any(
        n > m + d for n, m, d in zip(network.shape.size, network.median_shape, network.shape.divisor, strict=True)
    )
    what = (
        f"The {WIDE_PERCENTILE:.0f}th percentile of the studies, for the findings' sake"
        if is_wide
        else "A median study"
    )
    return (
        f"{what}, cut down until a step of training fits into {network.asked.budget_gib:.3g} GiB; a "
        f"multiple of the network's strides ({_by(network.shape.divisor)}). A step of {batch} takes about "
        f"{network.gib:.2g} GiB; {100 * network.whole_share:.0f} % of the studies fit in whole, the others are "
        "learnt from in blocks."
    )


def _model(draft: Draft) -> Tree:
    network, text = draft.network, draft.fingerprint.text
    shape, asked, reads = network.shape, network.asked, draft.reads_text
    image: dict[str, Any] = {"name": asked.encoder, "features": list(network.features)}
    if asked.encoder == "resenc":
        image["blocks"] = list(asked.blocks(shape.stages))
    else:
        image["residual"] = True
    image |= {"strides": [list(one) for one in shape.strides], "kernels": [list(one) for one in shape.kernels]}
    deep = max(0, shape.stages - 3) if draft.segments else 0
    share = f"{text.with_input} of {draft.fingerprint.usable} studies have text that a model may read"
    model: dict[str, Any] = {
        "image": Noted(value=image, why=_about_image(network)),
        "text": Noted(
            value={"name": "transformer", "weights": "minilm", "tuning": "frozen"} if reads else None,
            why=f"{share}: {'pre-trained and frozen, which few studies cannot spoil' if reads else 'none is read'}.",
        ),
        "fusion": Noted(
            value={"name": "cross_attention", "layers": 2, "heads": 4} if reads else {"name": "concat"},
            why=(
                "Image and text look at each other; medfuse's default."
                if reads
                else "One modality has nothing to be fused with."
            ),
        ),
        "width": Noted(value=WIDTH, why="Of a token; medfuse's default, enough for a few findings."),
        "deep_supervision": Noted(
            value=deep,
            why=(
                f"{shape.stages} stages: every coarser level of the decoder but the coarsest (nnU-Net's rule)."
                if deep
                else "No decoder, or too few stages for a coarser level that could be supervised."
            ),
        ),
    }
    return model


def _about_image(network: NetworkPlan) -> str:
    asked, shape = network.asked, network.shape
    kind = (
        "nnU-Net's residual encoder, for a GPU"
        if asked.encoder == "resenc"
        else "On a CPU two convolutions a stage, several times faster than nnU-Net's residual encoder"
    )
    even = "every axis alike" if shape.is_plain else "each axis by its length and spacing"
    if any(1 in kernel for kernel in shape.kernels):
        even += ", with kernels of 1 across an axis that is twice as coarse or one voxel long"
    return (
        f"{kind}; {asked.first_features} feature maps, doubled a stage up to 320. {shape.stages} stages: an axis is "
        f"halved while half of it has 4 voxels and it is not twice as coarse as the finest, {even}."
    )


def _training(draft: Draft) -> Tree:
    network, schedule = draft.network, draft.schedule
    few = draft.splits.validation < ENOUGH_TO_CHOOSE
    workers = 0 if network.asked.device.kind == "cpu" else max(0, min(MOST_WORKERS, network.asked.device.cores - 1))
    return {
        "epochs": Noted(
            value=schedule.epochs, why=f"{schedule.why[0].upper()}{schedule.why[1:]}: {schedule.steps} steps."
        ),
        "batch_size": Noted(value=network.batch, why=_about_batch(network, draft.training_studies)),
        "learning_rate": Noted(
            value=0.002, why="For AdamW and small batches; found on real MR and made CT, not by your data."
        ),
        "warmup_steps": Noted(value=schedule.warmup, why=f"A twentieth of the {schedule.steps} steps, at most 100."),
        **_losses(draft),
        "select": Noted(
            value="last" if few else "validation",
            why=(
                f"About {draft.splits.validation} patients validate: "
                + ("too few to choose by; the schedule ends at its best." if few else "enough to choose the epoch by.")
            ),
        ),
        "validate_every": Noted(value=schedule.validate_every, why=f"Ten times or so in {schedule.epochs} epochs."),
        "precision": Noted(value="auto", why="Bf16 where the device multiplies in it, else fp32."),
        "workers": Noted(
            value=workers,
            why=(
                f"{network.asked.device.cores} cores, one left to the training."
                if workers
                else "The cores are busy with the network itself."
            ),
        ),
        "augment": _augment(draft),
    }


def _losses(draft: Draft) -> dict[str, Noted]:
    has_tiny, is_unbalanced = _has_tiny_segments(draft), _is_unbalanced(draft)
    return {
        "segment_weight": Noted(value=1.0, why="Segments and findings count alike."),
        "segment_loss": Noted(
            value="dice_focal" if has_tiny else "dice_ce",
            why=(
                f"A segment fills under {100 * TINY_SHARE:g} % of the input: focal loss looks at the few hard voxels."
                if has_tiny
                else f"nnU-Net's; no segment fills under {100 * TINY_SHARE:g} % of the input."
            ),
        ),
        "finding_balance": Noted(
            value="inverse" if is_unbalanced else "none",
            why=(
                f"A finding has under {100 * RARE_SHARE:g} % of its studies in one class: both weigh alike in sum."
                if is_unbalanced
                else f"No finding has under {100 * RARE_SHARE:g} % of its studies in one class."
            ),
        ),
        **_target_losses(draft),
    }


def _target_losses(draft: Draft) -> dict[str, Noted]:
    if not draft.fingerprint.targets:
        return {}
    rare = [
        one.name
        for one in draft.fingerprint.targets
        if one.counts and min(one.counts.values()) * len(one.counts) < 2 * RARE_SHARE * one.known
    ]
    return {
        "target_balance": Noted(
            value="inverse" if rare else "none",
            why=(
                f"A class of {rare[0]} has under {100 * 2 * RARE_SHARE:g} % of its even share: all weigh alike in sum."
                if rare
                else f"Every class of a target has {100 * 2 * RARE_SHARE:g} % or more of its even share."
            ),
        )
    }


def _has_tiny_segments(draft: Draft) -> bool:
    """Whether the median of some segment is next to nothing in the input."""
    input_ml = prod(draft.network.shape.size) * prod(draft.network.spacing_mm) / 1000
    return any(segment.median_ml < TINY_SHARE * input_ml for segment in draft.fingerprint.segments)


def _is_unbalanced(draft: Draft) -> bool:
    """Whether a finding has few studies in one of its classes."""
    for name in draft.findings:
        counts = draft.fingerprint.findings[name]
        present, absent = counts.get("PRESENT", 0), counts.get("ABSENT", 0)
        if min(present, absent) < RARE_SHARE * (present + absent):
            return True
    return False


def _about_batch(network: NetworkPlan, studies: int) -> str:
    if network.asked.device.kind == "cpu":
        return "A CPU gains nothing from more, and small batches take more steps an epoch."
    return (
        f"As many as fit into {network.asked.budget_gib:.3g} GiB, up to {100 * BATCH_SHARE:.0f} % of the voxels of "
        f"about {studies} training studies, and to 16."
    )


def _augment(draft: Draft) -> Tree:
    network = draft.network
    answers = [text for one in draft.fingerprint.targets for text in (one.name, *one.counts)]
    sided = [name for name in (*draft.findings, *draft.segments, *answers) if names_a_side(name)]
    shortest = min(network.shape.size)
    shift = float(max(1, min(5, round(0.06 * shortest)))) if shortest > 1 else 0.0
    flat = network.is_flat
    return {
        "rotate_degrees": Noted(
            value=5.0 if flat else 15.0,
            why=(
                "Small: a turn out of the plane of thick slices mixes what lies far apart."
                if flat
                else "The axes are alike, so a head or body may lie a little turned about any of them."
            ),
        ),
        "shift_voxels": Noted(
            value=shift, why=f"A sixteenth or so of the shortest side, {shortest} voxels; at most 5."
        ),
        "spatial_probability": Noted(value=0.7, why="Most samples: the fewer studies, the more each has to vary."),
        "zoom": Noted(value=0.15, why="medfuse's default."),
        "zoom_probability": Noted(
            value=0.3 if draft.segments else 0.0,
            why=(
                "A zoom changes volumes: those samples train the segmentation alone."
                if draft.segments
                else "A zoom would make findings wrong, and there are no segments."
            ),
        ),
        "flip_probability": Noted(
            value=0.0 if sided else 0.5,
            why=(
                f"Off: {sided[0]!r} names a side."
                if sided
                else "No finding or segment names a side; the text's left and right are swapped along."
            ),
        ),
        "noise": Noted(value=0.1, why="medfuse's default, in units of the normalised image."),
        "contrast": Noted(
            value=0.2 if any(one.modality is Modality.MR for one in draft.fingerprint.channels) else 0.1,
            why="A fifth for MR, whose contrast differs by scanner; a tenth where values are absolute.",
        ),
        "gain": Noted(value=0.1, why="medfuse's default."),
    }


def _by(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
