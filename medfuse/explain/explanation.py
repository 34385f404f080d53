"""One study explained: what was used, what each input added, which words and which voxels weighed."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medfuse.data.samples import Case
from medfuse.domain.geometry import VolumeGeometry
from medfuse.domain.prediction import Finding, Scored
from medfuse.domain.study import Study
from medfuse.errors import UsageError
from medfuse.explain.maps import METHODS, Method, voxel_weights
from medfuse.explain.reading import IMAGE, TEXT, Reading, inputs_of, log_odds, with_only
from medfuse.explain.shapley import MOST_INPUTS, Contributions, Subset, Values, contributions
from medfuse.explain.words import WordWeights, word_weights
from medfuse.inference import Predictor
from medfuse.preprocess import PreparedStudy, Recipe
from medfuse.preprocess.grid import resample

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordWeight:
    """What a word, or a run of words, adds to the log-odds: offsets into `Prediction.text_input`."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FindingExplanation:
    """Why a finding got its probability.

    Args:
        name: Of the finding.
        probability: As `log_odds` has it, for the study as it is (without augmentations).
        log_odds: Calibrated, of the mean over members.
        log_odds_without_inputs: The same with no input at all: where the contributions start from.
        contributions: Input -> its Shapley value in log-odds; they add up to the difference of the two.
        words: Of the text, in its order.
        maps: Method -> weight of each voxel, float32 on the grid of the source series; positive speaks for the finding.
    """

    name: str
    probability: float
    log_odds: float
    log_odds_without_inputs: float
    contributions: dict[str, float]
    words: tuple[WordWeight, ...] = ()
    maps: dict[Method, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """A study's answer and why.

    Args:
        scored: The answer; its findings carry their contributions.
        findings: Those that were explained.
        source_grid: Grid of the maps.
        sections: Section of the reports -> whether the model reads it; sections without text are left out.
    """

    scored: Scored
    findings: tuple[FindingExplanation, ...]
    source_grid: VolumeGeometry
    sections: dict[str, bool] = field(default_factory=dict)


def explain(
    predictor: Predictor,
    study: Study,
    *,
    findings: Collection[str] | None = None,
    methods: Sequence[Method] = ("gradient",),
) -> Explanation:
    """Answer a study and explain the answer.

    Args:
        predictor: The model; what it keeps from the network (`without`) is no input.
        study: The study.
        findings: Which to explain; all of them when left out.
        methods: Of the maps; none for no map.

    Raises:
        StudyError: The study cannot be used.
        UsageError: The model predicts no such finding, or there is no such method.
    """
    _check(predictor, findings, methods)
    return explain_prepared(predictor, predictor.prepare(study), findings=findings, methods=methods)


def explain_prepared(
    predictor: Predictor,
    prepared: PreparedStudy,
    *,
    scored: Scored | None = None,
    findings: Collection[str] | None = None,
    methods: Sequence[Method] = ("gradient",),
) -> Explanation:
    """Explain the answer to a study that is prepared already.

    Args:
        predictor: The model.
        prepared: The study.
        scored: Its answer; None to ask for it now.
        findings: Which to explain; all of them when left out.
        methods: Of the maps.

    Raises:
        UsageError: The model predicts no such finding, or there is no such method.
    """
    _check(predictor, findings, methods)
    scored = predictor.answer(prepared) if scored is None else scored
    case = predictor.case_of(prepared)
    readings = [Reading.whole(member, case) for member in predictor.members]
    added = study_contributions(readings, case)
    words = word_weights([reading.decisive(case)[0] for reading in readings], case)
    maps = {method: voxel_weights(readings, case, method) for method in methods if case.channel_present.any()}
    explained = []
    for position, name in enumerate(predictor.label_set.findings):
        if findings is None or name in findings:
            one = _of_finding(position, name, added, words)
            on_source = {
                method: resample(weights[position].astype(np.float32), prepared.grid, prepared.source_grid, outside=0.0)
                for method, weights in maps.items()
            }
            explained.append(replace(one, maps=on_source))
    return Explanation(
        scored=_with_contributions(scored, added),
        findings=tuple(explained),
        source_grid=prepared.source_grid,
        sections=_sections(prepared.study, predictor.recipe),
    )


def study_contributions(readings: Sequence[Reading], case: Case) -> Contributions:
    """What each input of a study adds to each finding; many channels count as one input, `image`."""
    member = readings[0].member
    channels = [rule.name for rule in member.checkpoint.recipe.channels]
    inputs = inputs_of(member, case)
    grouped = len(inputs) > MOST_INPUTS
    if grouped:
        inputs = (IMAGE, *(name for name in inputs if name == TEXT))

    def answers(subsets: Sequence[Subset]) -> Values:
        kept = [{*subset, *(channels if grouped and IMAGE in subset else ())} for subset in subsets]
        return np.concatenate([log_odds(readings, [with_only(case, names, channels)]) for names in kept])

    return contributions(inputs, answers)


def _of_finding(position: int, name: str, added: Contributions, words: WordWeights) -> FindingExplanation:
    said = float(added.with_all[position])
    return FindingExplanation(
        name=name,
        probability=float(1 / (1 + np.exp(-said))),
        log_odds=said,
        log_odds_without_inputs=float(added.without_any[position]),
        contributions={source: float(values[position]) for source, values in added.of_inputs.items()},
        words=tuple(
            WordWeight(start=start, end=end, weight=float(weight))
            for (start, end), weight in zip(words.spans, words.weights[:, position], strict=True)
        ),
    )


def _with_contributions(scored: Scored, added: Contributions) -> Scored:
    def carrying(position: int, finding: Finding) -> Finding:
        values = {source: float(value[position]) for source, value in added.of_inputs.items()}
        return replace(finding, contributions=values)

    found = tuple(carrying(position, finding) for position, finding in enumerate(scored.prediction.findings))
    return replace(scored, prediction=replace(scored.prediction, findings=found))


def _sections(study: Study, recipe: Recipe) -> dict[str, bool]:
    there = [section.name for report in study.reports for section in report.sections if report.body(section)]
    return {name.value: name in recipe.text_sections for name in dict.fromkeys(there)}


def _check(predictor: Predictor, findings: Collection[str] | None, methods: Sequence[Method]) -> None:
    known = predictor.label_set.findings
    if not known:
        raise UsageError("the model answers no finding, so there is nothing to explain")
    unknown = sorted(set(findings or ()) - set(known))
    if unknown:
        raise UsageError(f"the model has no finding {', '.join(unknown)}; it has: {', '.join(known)}")
    strange = sorted(set(methods) - set(METHODS))
    if strange:
        raise UsageError(f"there is no map by {', '.join(strange)}; there is: {', '.join(METHODS)}")
