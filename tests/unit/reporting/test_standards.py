"""Checklists and the model card: every statement has its source, and what no file supports is not claimed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from medfuse.errors import UsageError
from medfuse.evaluation.report import RESEARCH_USE
from medfuse.ingest.manifest import ManifestRow
from medfuse.reporting import STANDARDS, RunArtifacts, read_artifacts, render_standard
from medfuse.reporting.artifacts import value_at
from medfuse.reporting.checklist import PERSON, Checklist, answer
from medfuse.reporting.claim import CLAIM
from medfuse.reporting.markdown import code, escape
from medfuse.reporting.tripod_ai import TRIPOD_AI
from tests.report_parts import CHECKPOINT, WEIGHTS

TRIPOD_PARTS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
    27: "abc",
}
TRIPOD_NUMBERS = [f"{n}{letter}" for n in range(1, 28) for letter in TRIPOD_PARTS.get(n, " ")]


def test_the_items_of_the_standards() -> None:
    assert [item.number for item in CLAIM.items] == [str(n) for n in range(1, 45)]
    assert [item.number for item in TRIPOD_AI.items] == [number.strip() for number in TRIPOD_NUMBERS]
    for item in (*CLAIM.items, *TRIPOD_AI.items):
        assert item.facts or item.person


@pytest.mark.parametrize("checklist", [CLAIM, TRIPOD_AI], ids=lambda one: one.name)
def test_sources_are_there(checklist: Checklist, artifacts: RunArtifacts) -> None:
    """Each key of the checkpoint that is named as a source is one of its keys."""
    named = 0
    for one in answer(checklist, artifacts):
        for fact in one.facts:
            for file, keys in re.findall(r"([\w/.]+): ([^;]+)", fact.source):
                if file == "best/checkpoint.json":
                    for key in keys.split(", "):
                        named += 1
                        assert value_at(CHECKPOINT, key.split(".*")[0]) is not None or key.endswith("start_from"), key
                elif file == "evaluation.json":
                    first = re.split(r"[.\[]", keys.split(", ")[0])[0]
                    assert hasattr(artifacts.evaluation, first), keys
    assert named > 20


def test_a_fact_that_no_file_supports_is_not_claimed(run: Path) -> None:
    """Without an evaluation, nothing is said of performance; without a manifest, nothing of labels."""
    answers = {one.item.number: one for one in answer(CLAIM, read_artifacts(run))}
    for number in ("28", "32", "37", "38", "39"):
        assert not [fact for fact in answers[number].facts if "evaluation" in fact.source]
    assert answers["38"].state == "to write"
    assert answers["38"].to_write == "no file that was given supports this item"
    assert answers["19"].state == "from the run"
    assert answers["1"].state == "in part"
    assert answers["36"].facts == ()


def test_an_empty_checkpoint_supports_nothing(artifacts: RunArtifacts) -> None:
    empty = replace(artifacts, checkpoint={}, config={}, evaluation=None)
    supported = {one.item.number for one in answer(CLAIM, empty) if one.facts}
    assert supported == {"12", "19", "20", "27", "35"} - {"12"}


def test_the_facts_of_a_run(artifacts: RunArtifacts) -> None:
    text = render_standard("claim", artifacts)
    for told in (
        "train 8 (8 patients), validation 1 (1 patients), test 12 (12 patients)",
        "No patient is in more than one split.",
        "1 x 1 x 2 mm",
        "16 x 16 x 8 voxels",
        "weights bert",
        "large by",
        "30 resamples",
        "12 studies of 12 patients; 1 studies of the split have no result",
        WEIGHTS,
    ):
        assert told in text or told in render_standard("tripod-ai", artifacts), told
    assert text.count(RESEARCH_USE) == 1


def test_labels_by_split_come_from_the_manifest(artifacts: RunArtifacts) -> None:
    rows = tuple(
        ManifestRow(
            study_instance_uid=f"1.2.{n}",
            patient_key=f"p{n:03d}",
            source="dicom",
            path=Path("/somewhere/private"),
            modalities=("MR",),
            labels={"large": value},  # type: ignore[dict-item]
        )
        for n, value in enumerate(["PRESENT", "ABSENT", "UNCERTAIN"])
    )
    text = render_standard("claim", replace(artifacts, manifest=rows))
    assert "large PRESENT in train 0 of 0, validation 0 of 0, test 1 of 2" in text
    assert "modalities MR" in text


@pytest.mark.parametrize("name", STANDARDS)
def test_no_place_on_a_machine_is_told(name: str, artifacts: RunArtifacts, tmp_path: Path) -> None:
    text = render_standard(name, artifacts)
    assert "/somewhere" not in text
    assert str(tmp_path) not in text
    assert PERSON in text


@pytest.mark.parametrize("name", STANDARDS)
def test_leakage_is_told(name: str, run: Path) -> None:
    told = CHECKPOINT | {"recipe": CHECKPOINT["recipe"] | {"allow_leakage": True}}
    (run / "best/checkpoint.json").write_text(json.dumps(told))
    text = render_standard(name, read_artifacts(run))
    assert "**LABEL LEAKAGE" in text
    assert "| label leakage | allowed |" in text


def test_the_card_is_one_of_the_hub(artifacts: RunArtifacts) -> None:
    card = ModelCard(render_standard("model-card", artifacts), ignore_metadata_errors=False)
    assert card.data.library_name == "medfuse"
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data["weights_sha256"] == WEIGHTS
    assert card.data.get("license") is None  # no file of a run knows it
    figures = {one.metric_name: one for one in card.data.eval_results}
    report = artifacts.evaluation
    assert report is not None
    assert figures["large, AUROC"].metric_value == round(report.findings[0].auroc.value or 0, 4)
    assert figures["anterior, Dice"].metric_args["n"] == 12
    for title in ("Intended use", "Training data", "Evaluation", "Limits and risks"):
        assert f"## {title}" in card.text


def test_a_card_without_an_evaluation_has_no_figures(run: Path) -> None:
    card = ModelCard(render_standard("model-card", read_artifacts(run)), ignore_metadata_errors=False)
    assert card.data.eval_results is None
    assert "AUROC" not in card.text


def test_names_are_words(run: Path) -> None:
    evil = "a: b\n---\n# <script>x</script> | [c](http://d) `e` *f*"
    labels = CHECKPOINT["label_set"] | {"findings": [evil]}
    (run / "best/checkpoint.json").write_text(json.dumps(CHECKPOINT | {"name": evil, "label_set": labels}))
    text = render_standard("model-card", read_artifacts(run))
    card = ModelCard(text, ignore_metadata_errors=False)
    assert "<script>" not in card.text
    assert r"\[c\](http" in card.text
    assert "[c](http" not in card.text
    assert card.text.count("\n# ") == 1


def test_escaped_words() -> None:
    assert escape("a\n b_c|<d> & [e](f)") == r"a b\_c\|&lt;d&gt; &amp; \[e\](f)"
    assert code("a`b\nc") == "`a'b c`"


def test_an_unknown_standard(artifacts: RunArtifacts) -> None:
    with pytest.raises(UsageError, match="claim, tripod-ai, model-card"):
        render_standard("stard", artifacts)
