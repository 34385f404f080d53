"""A model card in the layout of the Hugging Face hub: YAML front matter, then intended use, data, figures and limits.

Source: Mitchell et al., Model Cards for Model Reporting, FAT* 2019; huggingface_hub's `ModelCardData` writes the front
matter. Neither a licence nor a data set is stated: no file of a run knows them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medfuse.evaluation import EvaluationReport
from medfuse.metrics import Estimate
from medfuse.reporting import facts, measured_facts
from medfuse.reporting.artifacts import RunArtifacts
from medfuse.reporting.checklist import PERSON
from medfuse.reporting.facts import FactMaker
from medfuse.reporting.markdown import code, escape, header

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_CLASSIFICATION, _SEGMENTATION = "image-classification", "image-segmentation"

_PARTS: Sequence[tuple[str, Sequence[FactMaker], str]] = (
    (
        "Model",
        (facts.technology, facts.architecture, facts.predicted, facts.inputs, facts.identity, facts.software),
        "who made it, the licence, and where it can be had",
    ),
    (
        "Intended use",
        (facts.predicted, facts.output_form, facts.leakage),
        "for whom, by whom, for which question, and where in the care pathway",
    ),
    (
        "Uses that are out of scope",
        (facts.familiarity,),
        "populations, scanners, protocols and questions that it was not made for",
    ),
    (
        "Training data",
        (facts.modalities, facts.partitions, facts.disjoint, facts.label_counts, facts.missing_inputs),
        "source, dates, who the patients are, how labels and delineations were made, consent, terms of use",
    ),
    (
        "Training",
        (facts.preprocessing, facts.initialisation, facts.training, facts.augmentation, facts.selection),
        "hardware, energy, and how the values were arrived at",
    ),
    (
        "Evaluation",
        (
            measured_facts.internal,
            measured_facts.test_size,
            measured_facts.measures,
            measured_facts.uncertainty,
            measured_facts.results,
            measured_facts.calls,
            measured_facts.calibrated,
            measured_facts.groups,
            measured_facts.sites,
        ),
        "tests on external data and beside readers, or that there were none",
    ),
    (
        "Limits and risks",
        (
            measured_facts.missing_labels,
            measured_facts.rejections,
            measured_facts.failures,
            measured_facts.unfamiliar,
            facts.conformal,
        ),
        "known biases, groups that are too few to judge, harm that a wrong answer may do, and what a user has to check",
    ),
    ("Contact", (), "whom to ask, and how to cite"),
)


def render_model_card(run: RunArtifacts) -> str:
    """The card as Markdown with its front matter."""
    return "\n".join(["---", front_matter(run), "---", "", *header(f"Model card: {run.name}", run), *_body(run)])


def front_matter(run: RunArtifacts) -> str:
    """The card's YAML, with the main figures as the hub's model index."""
    from huggingface_hub import ModelCardData

    labels = run.at("label_set") or {}
    named = [str(channel.get("modality") or "") for channel in run.at("recipe.channels") or ()]
    tags = ["medical", "research-only", *sorted({name for name in named if name})]
    if run.at("recipe.allow_leakage"):
        tags.append("label-leakage")
    data = ModelCardData(
        library_name="medfuse",
        pipeline_tag=_SEGMENTATION if labels.get("segments") else _CLASSIFICATION,
        tags=tags,
        model_name=run.name,
        eval_results=list(_results(run.evaluation)) if run.evaluation is not None else None,
        weights_sha256=run.at("weights_sha256"),
        config_sha256=run.at("config_sha256"),
    )
    return str(data.to_yaml())


def _results(report: EvaluationReport) -> "Iterator[EvalResult]":
    from huggingface_hub import EvalResult

    figures: list[tuple[str, str, str, Estimate]] = [
        (_CLASSIFICATION, "roc_auc", f"{one.name}, AUROC", one.auroc) for one in report.findings
    ]
    figures += [(_SEGMENTATION, "dice", f"{one.name}, Dice", one.dice) for one in report.segments]
    for task, kind, name, one in figures:
        if one.value is not None:
            told = {"n": one.n, "patients": one.patients, "low": one.low, "high": one.high}
            yield EvalResult(
                task_type=task,
                metric_type=kind,
                metric_name=name,
                metric_value=round(one.value, 4),
                metric_args=told | {"confidence": report.confidence},
                dataset_name=f"{report.split} split of the run's manifest",
                dataset_type=f"manifest-sha256-{report.manifest_sha256 or 'unknown'}",
                dataset_split=report.split,
            )


def _body(run: RunArtifacts) -> Iterator[str]:
    for title, makers, person in _PARTS:
        yield from (f"## {title}", "")
        for make in makers:
            if (fact := make(run)) is not None:
                yield f"- {escape(fact.text)} [source: {code(fact.source)}]"
        yield f"- **{PERSON}:** {person}"
        yield ""
