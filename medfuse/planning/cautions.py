"""What a person should know about the data before she believes a figure."""

from collections.abc import Iterator
from math import prod

from medfuse.domain.labels import LabelValue
from medfuse.domain.report import SAFE_SECTIONS
from medfuse.planning.fingerprint import Fingerprint
from medfuse.planning.network import FEW_VOXELS, NetworkPlan
from medfuse.planning.splits import WANTED_VALIDATION, Splits

FEW_POSITIVES = 20
"""Studies of one class below which a finding is hardly learnt."""
FEW_IN_TEST = 5
"""Studies of one class in the test set below which its figures say little."""
RARE_CLASS = 0.1
"""Share of the rarer class below which a finding is heavily out of balance."""
SMALL_TEST = 30
"""Patients in the test set below which intervals are wide."""


def cautions(fingerprint: Fingerprint, network: NetworkPlan, splits: Splits, findings: tuple[str, ...]) -> list[str]:
    """One sentence a caution, the gravest kinds first.

    Args:
        fingerprint: The data.
        network: What is planned.
        splits: How the patients are divided.
        findings: The findings that are asked for.
    """
    return [
        *_studies(fingerprint, splits),
        *_findings(fingerprint, splits, findings),
        *_targets(fingerprint),
        *_segments(fingerprint, network),
        *_images(fingerprint, network, findings),
        *_text(fingerprint),
    ]


def _studies(fingerprint: Fingerprint, splits: Splits) -> Iterator[str]:
    for reason, count in fingerprint.unusable.items():
        yield f"{count} of {fingerprint.looked_at} studies looked at cannot be used: {reason}."
    if splits.test < SMALL_TEST:
        yield (
            f"The test split has about {splits.test} patients: too few to tell good from very good. Train on "
            "every fold and judge by all of them together."
        )
    if splits.validation < WANTED_VALIDATION:
        yield (f"The validation split has about {splits.validation} patients: too few to calibrate the findings well.")


def _findings(fingerprint: Fingerprint, splits: Splits, findings: tuple[str, ...]) -> Iterator[str]:
    for name, counts in fingerprint.findings.items():
        present, absent = counts.get(LabelValue.PRESENT, 0), counts.get(LabelValue.ABSENT, 0)
        if name not in findings:
            yield f"Finding {name!r} is left out: {present} present, {absent} absent; both are needed to learn it."
            continue
        fewer, which = min((present, "present"), (absent, "absent"))
        said = []
        if fewer < FEW_POSITIVES:
            said.append("too few to learn it well")
        elif fewer < RARE_CLASS * (present + absent):
            said.append("heavily out of balance")
        if fewer / splits.folds < FEW_IN_TEST:
            said.append(f"with about {fewer / splits.folds:.1f} in a test split its AUROC says little")
        if said:
            yield f"Finding {name!r} has {fewer} studies {which} of {present + absent}: {'; '.join(said)}."
        unknown = fingerprint.studies - present - absent
        if unknown > fingerprint.studies / 2:
            yield f"Finding {name!r} is not assessed, or uncertain, in {unknown} of {fingerprint.studies} studies."


def _targets(fingerprint: Fingerprint) -> Iterator[str]:
    for name, why in fingerprint.left_out_targets.items():
        yield f"Target {name!r} is left out: {why}."
    for one in fingerprint.targets:
        few = [f"{name!r} {count}" for name, count in one.counts.items() if count < FEW_POSITIVES]
        if few:
            yield f"Target {one.name!r} has classes of few studies ({', '.join(few)}): too few to learn them well."
        if one.known < fingerprint.studies / 2:
            yield f"Target {one.name!r} is known of {one.known} of {fingerprint.studies} studies."


def _segments(fingerprint: Fingerprint, network: NetworkPlan) -> Iterator[str]:
    if fingerprint.segments and fingerprint.delineated < fingerprint.usable:
        yield (
            f"{fingerprint.usable - fingerprint.delineated} of {fingerprint.usable} studies have no delineation; they "
            "train the findings alone."
        )
    for name, count in fingerprint.rare_segments.items():
        yield (
            f"Region {name!r} is left out: {count} of {fingerprint.delineated} delineated studies show it, or its name "
            "is a number behind a gap."
        )
    for segment in fingerprint.segments:
        if segment.studies < fingerprint.delineated / 2:
            shown = f"{segment.studies} of {fingerprint.delineated} delineated studies"
            yield f"Segment {segment.name!r} is missing in most: {shown} show it."
        across = segment.small_mm / max(network.spacing_mm)
        if across < FEW_VOXELS:
            yield (
                f"Segment {segment.name!r} is small for this grid: a tenth of its regions is under {across:.1f} voxels "
                "across (as a ball, along the coarsest axis)."
            )


def _images(fingerprint: Fingerprint, network: NetworkPlan, findings: tuple[str, ...]) -> Iterator[str]:
    for name, count in fingerprint.rare_channels.items():
        yield f"Preset {name} fits {count} of {fingerprint.looked_at} studies: too few for a channel."
    for channel in fingerprint.channels:
        if channel.studies < fingerprint.usable / 2:
            having = f"{channel.studies} of {fingerprint.usable} studies"
            yield f"Channel {channel.name} is missing in most: {having} have it."
    covered = min(1.0, prod(network.shape.size) / prod(network.median_shape))
    asked = bool(findings or fingerprint.targets)
    if asked and network.whole_share < 0.5:
        yield (
            f"{100 * (1 - network.whole_share):.0f} % of the studies are larger than the input: findings are learnt "
            "from blocks and answered window by window. More --memory, or studies cropped to an organ, show more."
        )
    elif not asked and covered < 0.25:
        yield (
            f"The input covers {100 * covered:.0f} % of a median study: a network that sees so little of it may miss "
            "what the surroundings tell; a coarser spacing_mm shows more."
        )


def _text(fingerprint: Fingerprint) -> Iterator[str]:
    text = fingerprint.text
    if text.with_report and not text.with_input:
        names = ", ".join(SAFE_SECTIONS)
        yield (
            f"No report has text under {names}, so the model reads none. FINDINGS and IMPRESSION may state the answer "
            "(recipe.allow_leakage)."
        )
    if text.without_headings:
        yield (
            f"{text.without_headings} of {text.with_report} studies with a report have none with headings: what it "
            "says is not read, since it may state the answer."
        )
    others = {language: n for language, n in text.languages.items() if language != "en"}
    if others and text.with_input:
        told = ", ".join(f"{language} {n}" for language, n in others.items())
        yield (
            f"Reports in other languages than English ({told}): the text encoder reads English; name one of your "
            "languages under model.text.weights."
        )
