"""A fingerprint and a budget -> a config whose every value says why."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medfuse.config.load import check
from medfuse.config.schema import TrainConfig
from medfuse.config.yaml_text import parse_yaml
from medfuse.domain.labels import LabelValue
from medfuse.errors import ManifestError, UsageError
from medfuse.planning.cautions import cautions
from medfuse.planning.commented import Tree, as_yaml, comment
from medfuse.planning.fingerprint import Fingerprint
from medfuse.planning.network import Asked, NetworkPlan, plan_network
from medfuse.planning.schedule import FEWEST_EPOCHS, Schedule, default_schedule, timed_schedule
from medfuse.planning.sections import Draft, sections
from medfuse.planning.splits import Splits, plan_splits

SMALLEST_BASE = 8
"""Feature maps of the first stage that a network keeps at least, however short the time."""

WORTH_NARROWING = 1.4
"""How many times faster half the feature maps have to be; else the time goes elsewhere (text, augmentation)."""

Timer = Callable[[TrainConfig, Fingerprint], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may take.

    Args:
        minutes: Time; None for the default schedule.
        memory_gib: Memory of a step; None for the device's.

    Raises:
        UsageError: A number is not above zero.
    """

    minutes: float | None = None
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        for option, value in (("--time", self.minutes), ("--memory", self.memory_gib)):
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{option} is {value:g}; expected a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A planned run.

    Args:
        text: The config as commented YAML.
        config: The same, checked.
        cautions: What a person should know about the data.
        network: Spacing, size, batch and network.
        schedule: How long.
        splits: How the patients are divided.
    """

    text: str
    config: TrainConfig
    cautions: tuple[str, ...]
    network: NetworkPlan
    schedule: Schedule
    splits: Splits


def make_plan(
    fingerprint: Fingerprint,
    *,
    manifest: Path,
    name: str,
    budget: Budget,
    timer: Timer,
    opening: tuple[str, ...] = (),
) -> Plan:
    """Plan a run. The same fingerprint and budget give the same plan; a time budget measures this machine's speed.

    Args:
        fingerprint: The data.
        manifest: The manifest, for the config.
        name: Name of the run.
        budget: What it may take.
        timer: Gives the seconds of a step of a config; only asked where there is a time budget.
        opening: First lines of the config's comments, e.g. the commands.

    Raises:
        ManifestError: There is nothing to learn, or there are too few patients.
    """
    findings = _learnable(fingerprint)
    if not findings and not fingerprint.segments and not fingerprint.targets:
        raise ManifestError(
            f"{manifest}: nothing to learn: no finding is both present and absent in it, no target is known of enough "
            "studies, and no study looked at has a delineation; index with --labels, or lay the segmentations beside "
            "the images"
        )
    splits = plan_splits(fingerprint.patients)
    draft = _draft(fingerprint, manifest, name, budget, findings, splits)
    if budget.minutes is not None:
        draft = _in_time(draft, budget.minutes, timer)
    warnings = cautions(fingerprint, draft.network, splits, findings)
    if draft.schedule.epochs < FEWEST_EPOCHS and budget.minutes is not None:
        warnings.insert(
            0, f"The time holds {draft.schedule.epochs} epochs only, fewer than {FEWEST_EPOCHS}; give more."
        )
    tree = sections(draft)
    text = "\n".join([*_head(fingerprint, warnings, opening), as_yaml(tree).lstrip("\n")])
    return Plan(
        text=text,
        config=_checked(tree),
        cautions=tuple(warnings),
        network=draft.network,
        schedule=draft.schedule,
        splits=splits,
    )


def _learnable(fingerprint: Fingerprint) -> tuple[str, ...]:
    """The findings that have both classes."""
    both = (LabelValue.PRESENT, LabelValue.ABSENT)
    return tuple(name for name, counts in fingerprint.findings.items() if all(counts.get(value) for value in both))


def _draft(
    fingerprint: Fingerprint, manifest: Path, name: str, budget: Budget, findings: tuple[str, ...], splits: Splits
) -> Draft:
    asked = Asked(
        device=fingerprint.device,
        memory_gib=budget.memory_gib,
        channels=len(fingerprint.channels),
        segments=len(fingerprint.segments),
        whole=bool(findings or fingerprint.targets),
    )
    training = max(1, round(fingerprint.studies * splits.training / fingerprint.patients))
    network = plan_network(fingerprint, asked, training_studies=training)
    return Draft(
        fingerprint=fingerprint,
        manifest=manifest,
        name=name,
        findings=findings,
        splits=splits,
        network=network,
        schedule=default_schedule(fingerprint.device.kind, max(1, training // network.batch)),
        training_studies=training,
    )


def _in_time(draft: Draft, minutes: float, timer: Timer) -> Draft:
    """The draft with the epochs that the time holds; the network is made narrower until there are enough."""
    step_s = timer(_checked(sections(draft)), draft.fingerprint)
    while True:
        draft = replace(draft, schedule=_timed(draft, minutes, step_s))
        asked = draft.network.asked
        if draft.schedule.epochs >= FEWEST_EPOCHS or asked.first_features // 2 < SMALLEST_BASE:
            return draft
        narrower = replace(asked, base=asked.first_features // 2)
        # The input stays as it was: a smaller network has room for a larger one, which would take the time again.
        network = replace(draft.network, asked=narrower, gib=narrower.gib(draft.network.shape, draft.network.batch))
        faster = replace(draft, network=network)
        faster_s = timer(_checked(sections(faster)), faster.fingerprint)
        if faster_s * WORTH_NARROWING > step_s:
            return draft
        draft, step_s = faster, faster_s


def _timed(draft: Draft, minutes: float, step_s: float) -> Schedule:
    reading_s = draft.fingerprint.seconds_a_study * draft.fingerprint.studies
    return timed_schedule(minutes, reading_s, step_s, draft.schedule.steps_an_epoch)


def _checked(tree: Tree) -> TrainConfig:
    return check(parse_yaml(as_yaml(tree), "the plan"), TrainConfig, where="the plan")


def _head(fingerprint: Fingerprint, warnings: list[str], opening: tuple[str, ...]) -> list[str]:
    lines = [line for sentence in opening for line in comment(sentence)]
    looked = (
        f"Planned for {fingerprint.studies} studies of {fingerprint.patients} patients, of which "
        f"{fingerprint.looked_at} were looked at and {fingerprint.usable} can be used, on {_device(fingerprint)}."
    )
    lines += ["#", *comment(looked)]
    if warnings:
        lines += ["#", *comment("What to know before a figure is believed:")]
        lines += [line for sentence in warnings for line in comment(sentence, mark="- ")]
    return [*lines, ""]


def _device(fingerprint: Fingerprint) -> str:
    device = fingerprint.device
    kind = "a GPU" if device.kind == "cuda" else "a CPU"
    return f"{kind} ({device.memory_gib:g} GiB, {device.cores} cores)"
