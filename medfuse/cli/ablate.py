"""`medfuse ablate`: what each modality and each fusion adds, on the same folds and seeds."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from medfuse.config.schema import TrainConfig
    from medfuse.evaluation import EvaluationReport
    from medfuse.training import Studies

TABLE, MARKDOWN, EVALUATION, CLOCK = "ablation.json", "ablation.md", "evaluation.json", "minutes.json"
WITHOUT = ("text", "image")
"""What is kept from the full model at test time, one row each."""


def ablate(
    config: Annotated[Path, typer.Argument(help="YAML file of the full model.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder for the runs and the table.", show_default=False)],
    variants: Annotated[
        str | None,
        typer.Option(help="image-only, text-only, shuffled-reports, names of fusions; by commas. [default: all]"),
    ] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Cross-validate each model.", show_default=False)] = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="The test fold, if not the config's.", show_default=False)
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value: dotted.key=value. May be repeated.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write OUTPUT/ablation.md too.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples, by patient.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    device: Annotated[str, typer.Option(help="Device of the models when measured: auto, cpu, cuda.")] = "auto",
) -> None:
    """Train and table what each part adds: image only, text only, each fusion, and shuffled reports as the control.

    Every model is trained from the same config, folds and seed, and measured on the same test studies; the full model
    is measured once more with the note missing, and with the image missing. Differences are paired, by patient.
    Writes OUTPUT/ablation.json, and a run a model. The same command goes on where it was stopped.
    """
    if folds is not None and fold is not None:
        raise UsageError("--folds trains every fold and --fold one; give one of them")
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder")

    from rich.console import Console

    from medfuse.cli.train import fold_settings
    from medfuse.config.ablation import IMAGE_ONLY, SHUFFLED, variants_of
    from medfuse.config.load import load_config
    from medfuse.config.schema import TrainConfig
    from medfuse.evaluation.ablation import ablation_of, write_ablation
    from medfuse.evaluation.ablation_table import ablation_markdown, render_ablation
    from medfuse.storage import write_file

    changes = [*(override or []), *fold_settings(folds), *([] if fold is None else [f"data.test_fold={fold}"])]
    full = load_config(config, changes, TrainConfig)
    models = variants_of(full, variants.split(",") if variants else None)
    ablation = _Ablation(models, output, draws=draws, seed=seed, device=device, cross=folds is not None)
    reports = ablation.go()
    told = f"{folds} folds pooled" if folds is not None else f"test fold {full.data.test_fold} of {full.data.folds}"
    missing = f"{ablation.full}, text missing"
    report = ablation_of(
        reports,
        ablation.minutes(),
        config_sha256=full.plan().config_sha256,
        folds=told,
        pairs=[(SHUFFLED, IMAGE_ONLY), (missing, IMAGE_ONLY)],
    )
    write_ablation(report, output / TABLE)
    if markdown:
        text = ablation_markdown(report)
        write_file(output / MARKDOWN, lambda aside: aside.write_text(text, encoding="utf-8"))
    console = Console()
    console.print(render_ablation(report))
    console.print(f"written: {output / TABLE}", markup=False, highlight=False, soft_wrap=True)
    if any(reports[name].rejected for name in models):
        raise typer.Exit(1)


class _Ablation:
    """The runs of an ablation: trained, then measured, each only if it is not there yet."""

    def __init__(
        self, models: "Mapping[str, TrainConfig]", output: Path, *, draws: int, seed: int, device: str, cross: bool
    ) -> None:
        self.models, self.output, self.cross = models, output, cross
        self.draws, self.seed, self.device = draws, seed, device
        self.full = next(iter(models))
        manifest = models[self.full].data.manifest
        if manifest is None:
            raise ManifestError("data.manifest is not set; add --set data.manifest=FILE, made by medfuse index")
        self.manifest = manifest
        self._studies: Studies | None = None

    def go(self) -> "dict[str, EvaluationReport]":
        """Train and measure what is not there yet; row -> its figures, the full model first."""
        for name in self.models:
            self._train(name)
        reports = {self.full: self._measure(self.full)}
        for kept in WITHOUT:
            reports[f"{self.full}, {kept} missing"] = self._measure(self.full, kept)
        return reports | {name: self._measure(name) for name in self.models if name != self.full}

    def minutes(self) -> dict[str, float | None]:
        """Model -> minutes of its training, over all sessions that ended."""
        return {name: _minutes(self.output / name / CLOCK) for name in self.models}

    def _train(self, name: str) -> None:
        """Train one model; its figures are removed first, for they are of another training."""
        from medfuse.cli import train

        run, settings = self.output / name, self.models[name]
        if self._is_trained(name):
            return
        for path in run.glob("evaluation*.json"):
            path.unlink()
        started = time.monotonic()
        studies = self._read()
        try:
            start = train.run_folds if self.cross else train.run
            start(settings, run, resume=run.is_dir(), studies=studies)
        finally:
            _add_minutes(run / CLOCK, (time.monotonic() - started) / 60)

    def _is_trained(self, name: str) -> bool:
        from medfuse.model.checkpoint import fold_name
        from medfuse.training.trainer import is_finished

        run, settings = self.output / name, self.models[name]
        if not self.cross:
            return is_finished(settings.plan(), run)
        folds = range(settings.data.folds)
        return (run / "folds.json").is_file() and all(
            is_finished(settings.with_test_fold(fold).plan(), run / fold_name(fold)) for fold in folds
        )

    def _read(self) -> "Studies":
        """The studies, read for the full model, which needs the most of them."""
        from medfuse.cli.train import Bars
        from medfuse.training import read_studies

        if self._studies is None:
            with Bars() as bars:
                self._studies = read_studies(self.models[self.full].plan(), bars.on_studies, bars.on_study)
        return self._studies

    def _measure(self, name: str, kept: str = "") -> "EvaluationReport":
        from medfuse.cli.evaluate import measure
        from medfuse.evaluation import read_evaluation

        run = self.output / name
        path = run / (f"evaluation-without-{kept}.json" if kept else EVALUATION)
        if path.is_file():
            report = read_evaluation(path)
            if (report.draws, report.seed, report.manifest_sha256) == (self.draws, self.seed, self._hash()):
                return report
        without = [kept] if kept else []
        return measure(run, self.manifest, path, without=without, draws=self.draws, seed=self.seed, device=self.device)

    def _hash(self) -> str:
        import hashlib

        return hashlib.sha256(self.manifest.read_bytes()).hexdigest()


def _minutes(path: Path) -> float | None:
    try:
        return float(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _add_minutes(path: Path, minutes: float) -> None:
    from medfuse.storage import write_file

    text = json.dumps((_minutes(path) or 0.0) + minutes)
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))
