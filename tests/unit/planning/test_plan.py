"""From a fingerprint to a config that loads, with a reason for everything."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medfuse.config.load import load_config
from medfuse.config.schema import TrainConfig
from medfuse.config.yaml_text import parse_yaml
from medfuse.domain import Modality
from medfuse.errors import ManifestError, UsageError
from medfuse.planning import Budget, Fingerprint, Plan, make_plan
from medfuse.planning.fingerprint import ChannelPrint, TextPrint, write_fingerprint
from medfuse.planning.splits import plan_splits
from tests.unit.planning.fingerprints import CPU, CT, GPU, MR, fingerprint

NOTES = TextPrint(
    with_report=90, with_input=90, sections={"HISTORY": 90, "FINDINGS": 45}, median_words=30, long_words=60
)


def planned(data: Fingerprint, minutes: float | None = None, memory: float | None = None, step_s: float = 1.0) -> Plan:
    def timer(config: TrainConfig, seen: Fingerprint) -> float:
        return step_s * max(config.model.image.options["features"]) / 128  # type: ignore[union-attr]

    budget = Budget(minutes=minutes, memory_gib=memory)
    return make_plan(data, manifest=Path("m.csv"), name="run", budget=budget, timer=timer, opening=("medfuse plan",))


@pytest.mark.parametrize(
    "data",
    [
        fingerprint(),
        fingerprint(device=GPU, findings={"atrophy": (40, 60)}, text=NOTES),
        fingerprint([((0.6, 0.6, 4.0), (320, 320, 20))], channels=[CT], segments={"liver": 1500.0, "yes": 2.0}),
        fingerprint([((0.8, 0.8, 2.5), (512, 512, 180))], channels=[CT], segments={}, findings={"a: [b] #": (3, 97)}),
        fingerprint([((1.0, 1.0, 1.0), (5, 6, 4))], patients=3),
        fingerprint([((1.0, 1.0, 5.0), (64, 64, 1))], channels=[MR, replace(MR, name="flair", preset="flair")]),
    ],
    ids=["isotropic", "gpu", "anisotropic", "findings", "tiny", "single-slice"],
)
def test_the_file_loads_as_what_was_planned_and_says_why_of_everything(data: Fingerprint, tmp_path: Path) -> None:
    made = planned(data, memory=2.0)
    path = tmp_path / "run.yaml"
    path.write_text(made.text, encoding="utf-8")

    assert load_config(path, [], TrainConfig) == made.config
    assert max(map(len, (line for line in made.text.splitlines() if line.lstrip().startswith("#")))) <= 120
    lines = made.text.splitlines()
    for number, line in enumerate(lines):
        stripped = line.lstrip()
        if stripped and not stripped.startswith(("#", "- ")) and not stripped.endswith(":"):
            assert lines[number - 1].lstrip().startswith("#"), f"no reason for {line}"
    assert planned(data, memory=2.0).text == made.text


def test_a_ct_takes_its_window_from_the_foreground_and_an_mr_is_standardised() -> None:
    segments_only = planned(fingerprint(channels=[CT])).config.recipe.channels[0]
    with_findings = planned(fingerprint(channels=[CT], findings={"cyst": (30, 70)})).config.recipe.channels[0]
    mr = planned(fingerprint()).config.recipe.channels[0]

    assert (segments_only.window.low, segments_only.window.high) == (-90, 210)  # type: ignore[union-attr]
    assert (with_findings.window.low, with_findings.window.high) == (-910, 800)  # type: ignore[union-attr]
    assert mr.window is None


def test_a_channel_without_a_preset_goes_by_its_modality() -> None:
    nameless = ChannelPrint(name="mr", preset="", modality=Modality.MR, studies=100)
    rule = planned(fingerprint(channels=[nameless])).config.recipe.channels[0]

    assert (rule.name, rule.modality, rule.match) == ("mr", Modality.MR, "")


@pytest.mark.parametrize(("segment", "flips"), [("left hippocampus", 0.0), ("hippocampus", 0.5)])
def test_nothing_is_flipped_where_a_name_tells_sides(segment: str, flips: float) -> None:
    augment = planned(fingerprint(segments={segment: 3.0})).config.training.augment

    assert augment is not None
    assert augment.flip_probability == flips


def test_thick_slices_are_turned_little() -> None:
    thick = planned(fingerprint([((0.6, 0.6, 4.0), (320, 320, 20))])).config.training.augment
    even = planned(fingerprint()).config.training.augment

    assert thick is not None
    assert even is not None
    assert (thick.rotate_degrees, even.rotate_degrees) == (5.0, 15.0)


def test_text_is_read_where_there_is_some_in_the_sections_that_occur() -> None:
    read = planned(fingerprint(text=NOTES)).config
    none = planned(fingerprint()).config
    answers = TextPrint(with_report=90, sections={"FINDINGS": 90})

    assert read.recipe.text_sections == ("HISTORY",)
    assert read.model.text is not None
    assert read.model.fusion.name == "cross_attention"
    assert none.model.text is None
    assert none.recipe.text_sections == ("INDICATION", "HISTORY", "TECHNIQUE")
    assert any("the model reads none" in line for line in planned(fingerprint(text=answers)).cautions)


def test_a_time_budget_gives_the_epochs_that_it_holds() -> None:
    data = fingerprint(seconds_a_study=0.5)  # 100 studies: 50 s; 100 minutes less a tenth: 5400 s
    made = planned(data, minutes=100.0, step_s=1.0)

    assert made.schedule.steps_an_epoch == 32  # 80 patients without the test split, of which 16 validate
    assert made.config.training.epochs == int((5400 - 50) / 32)
    assert made.network.features == (16, 32, 64, 128)


def test_little_time_makes_the_network_narrower_before_it_makes_the_run_short() -> None:
    made = planned(fingerprint(), minutes=15.0, step_s=1.0)

    assert made.network.features == (8, 16, 32, 64)
    assert made.config.training.epochs == int(810 / 0.5 / 32)
    short = planned(fingerprint(), minutes=1.0, step_s=1.0)
    assert short.config.training.epochs == 3
    assert "The time holds 3 epochs only" in short.cautions[0]


def test_a_network_stays_as_wide_where_narrowing_saves_no_time() -> None:
    budget = Budget(minutes=5.0)
    made = make_plan(fingerprint(), manifest=Path("m.csv"), name="run", budget=budget, timer=lambda *_: 1.0)

    assert made.network.features == (16, 32, 64, 128)
    assert made.config.training.epochs == int(270 / 32)


def test_findings_of_one_class_are_left_out_and_rare_ones_are_weighted_and_told() -> None:
    data = fingerprint(findings={"common": (50, 50), "rare": (8, 92), "never": (0, 100)})
    made = planned(data)

    assert made.config.labels.findings == ("common", "rare")
    assert made.config.training.finding_balance == "inverse"
    assert any(line.startswith("Finding 'never' is left out") for line in made.cautions)
    assert any(line.startswith("Finding 'rare' has 8 studies present of 100") for line in made.cautions)
    assert not any("'common'" in line for line in made.cautions)
    assert planned(fingerprint(findings={"common": (50, 50)})).config.training.finding_balance == "none"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"patients": 12}, "too few to tell good from very good"),
        ({"text": TextPrint(with_report=9, with_input=5, without_headings=4)}, "none with headings"),
        ({"text": TextPrint(with_report=9, with_input=9, languages={"de": 9})}, "other languages than English (de 9)"),
        ({"unusable": {"TRUNCATED_FILE": 3}}, "3 of 100 studies looked at cannot be used: TRUNCATED_FILE"),
        ({"rare_segments": {"cyst": 2}}, "Region 'cyst' is left out"),
        ({"segments": {"speck": 0.01}}, "Segment 'speck' is small for this grid"),
        ({"channels": [replace(MR, studies=30)]}, "Channel t1 is missing in most: 30 of 100"),
        ({"rare_channels": {"swi": 4}}, "Preset swi fits 4 of 100"),
        ({"grids": [((0.5, 0.5, 0.5), (512, 512, 512))]}, "sees so little of it"),
    ],
)
def test_what_a_person_should_know_is_said(more: dict[str, Any], said: str) -> None:
    assert any(said in line for line in planned(fingerprint(**more)).cautions)


def test_clean_data_bring_no_caution() -> None:
    assert planned(fingerprint(patients=400, channels=[replace(MR, studies=400)])).cautions == ()


def test_segments_in_few_studies_are_told() -> None:
    data = fingerprint()
    rare = replace(data, segments=(replace(data.segments[0], studies=40),))

    assert any("missing in most: 40 of 100" in line for line in planned(rare).cautions)


@pytest.mark.parametrize(
    ("patients", "folds", "fraction", "test"),
    [(3, 3, 0.5, 1), (9, 3, 0.2, 3), (22, 5, 0.2, 4), (200, 5, 0.125, 40), (1000, 5, 0.1, 200), (3000, 10, 0.1, 300)],
)
def test_folds_and_validation_follow_from_the_patients(patients: int, folds: int, fraction: float, test: int) -> None:
    made = plan_splits(patients)

    assert (made.folds, made.validation_fraction, made.test) == (folds, fraction, test)
    assert made.training >= 1


def test_two_patients_are_too_few() -> None:
    with pytest.raises(
        ManifestError, match="has 2 patients; a test, a validation and a training split take at least 3"
    ):
        planned(fingerprint(patients=2))


def test_nothing_to_learn_is_one_line() -> None:
    with pytest.raises(ManifestError, match=r"m\.csv: nothing to learn"):
        planned(fingerprint(segments={}, findings={"never": (0, 100)}))


@pytest.mark.parametrize("budget", [{"minutes": 0.0}, {"minutes": -3.0}, {"memory_gib": float("inf")}])
def test_a_budget_is_above_zero(budget: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected a number above 0"):
        Budget(**budget)


def test_the_fingerprint_is_plain_json_and_repeats(tmp_path: Path) -> None:
    write_fingerprint(tmp_path / "one.json", fingerprint(seconds_a_study=1.0))
    write_fingerprint(tmp_path / "two.json", fingerprint(seconds_a_study=2.0))

    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    read = parse_yaml((tmp_path / "one.json").read_text(encoding="utf-8"), "one")
    assert read["grids"][0] == {"spacing_mm": [1.0, 1.0, 1.0], "shape": [35, 50, 36]}
    assert read["device"]["kind"] == CPU.kind
