"""`medfuse inspect`: what a study holds, what was left out, and which series fills each input channel, and why."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medfuse.domain import Study
    from medfuse.ingest.scan import ScanResult
    from medfuse.preprocess import ChannelRule
    from medfuse.preprocess.channels import ChannelDecision


def inspect(
    path: Annotated[Path, typer.Argument(metavar="STUDY", help="A study, or a folder of studies.", show_default=False)],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A training config, or a run folder or checkpoint: whose channels to fill."),
    ] = None,
    study: Annotated[str | None, typer.Option("--study", help="Only the study with this UID.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a study holds, and which series fills each input channel, and why.

    Lists the series and their parts, what was left out and why, the reports (names and lengths of their sections, no
    text), the segmentations, and for each channel the series that is chosen, the runners-up with their points, and why
    every other series is none. Without --config the presets that some series of the study fits are shown. Exit code 1
    says that the folder also holds studies that cannot be used.
    """
    from rich.console import Console

    console = Console(stderr=True)
    rules = None if config is None else channel_rules(config)
    with console.status("looking for studies"):
        from medfuse.ingest import find_studies

        found = find_studies(path)
    studies = _wanted(found, study)
    if as_json:
        typer.echo(json.dumps(as_document(studies, found, rules), indent=2, ensure_ascii=False))
    else:
        from medfuse.cli.study_tables import show

        show(studies, found, rules)
    if found.rejected and study is None:
        raise typer.Exit(1)


def channel_rules(config: Path) -> "tuple[ChannelRule, ...]":
    """The channels of a training config, or of a run or checkpoint.

    Raises:
        ConfigError: The config cannot be read.
        CheckpointError: The folder holds no checkpoint.
    """
    if config.is_dir():
        from medfuse.model import checkpoint

        return checkpoint.describe(checkpoint.locate(config)).recipe.channels
    from medfuse.config.load import load_config
    from medfuse.config.schema import TrainConfig

    return load_config(config, [], TrainConfig).recipe.channels


def _wanted(found: "ScanResult", uid: str | None) -> "tuple[Study, ...]":
    if uid is None:
        return found.studies
    wanted = tuple(one for one in found.studies if one.study_instance_uid == uid)
    if not wanted:
        refused = next((f": {one.reason}: {one.detail}" for one in found.rejected if one.study_instance_uid == uid), "")
        raise UsageError(
            f"--study {uid} is none of the {len(found.studies)} studies that can be used{refused}; "
            "leave --study out to see them"
        )
    return wanted


def as_document(
    studies: "Sequence[Study]", found: "ScanResult", rules: "Sequence[ChannelRule] | None"
) -> dict[str, Any]:
    """Everything that the command shows, as plain data for `--json`; no patient identifier and no text of a report."""
    return {
        "studies": [_study(one, rules) for one in studies],
        "rejected": [
            {"study": one.study_instance_uid, "reason": one.reason, "detail": one.detail} for one in found.rejected
        ],
        "skipped_files": found.skipped_files,
    }


def _study(study: "Study", rules: "Sequence[ChannelRule] | None") -> dict[str, Any]:
    from dataclasses import asdict

    from medfuse.preprocess.channels import decide_or_suggest, slices_of

    return {
        "study_instance_uid": study.study_instance_uid,
        "series": [
            {
                "key": one.key,
                "series_instance_uid": one.series_instance_uid,
                "number": one.number,
                "part": one.part,
                "modality": one.modality.value,
                "description": one.description,
                "files": len(one.files),
                "nifti_file": one.files[0].name if one.is_nifti else None,
                "slices": slices_of(one),
                **{name: value for name, value in asdict(one.acquisition).items() if name != "n_slices"},
            }
            for one in study.series
        ],
        "problems": list(study.problems),
        "reports": [
            [{"section": one.name.value, "characters": len(report.body(one))} for one in report.sections]
            for report in study.reports
        ],
        "segmentations": [path.name for path in study.segmentations],
        "channels": [_channel(one) for one in decide_or_suggest(study.series, rules)],
    }


def _channel(decision: "ChannelDecision") -> dict[str, Any]:
    return {
        "channel": decision.rule.name,
        "chosen": decision.chosen.key if decision.chosen else None,
        "reason": decision.reason,
        "candidates": [
            {
                "key": one.series.key,
                "fits": one.fits,
                "points": one.points,
                "parts": {part.name: part.points for part in one.parts},
                "remarks": list(one.remarks),
                "obstacles": list(one.obstacles),
            }
            for one in decision.candidates
        ],
    }
