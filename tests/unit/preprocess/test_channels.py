"""Conditions, preferences and patterns, and the record of a decision."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from medfuse.domain import Acquisition, Modality, Series
from medfuse.errors import ConfigError, StudyError
from medfuse.preprocess import ChannelRule, patterns
from medfuse.preprocess.channels import choose_series, decide, decide_or_suggest
from medfuse.preprocess.conditions import Condition, Contrast, Preference, Range
from medfuse.preprocess.patterns import LONGEST_TEXT, found
from medfuse.preprocess.presets import PRESETS

FULL = Acquisition(
    n_slices=20,
    spacing_mm=(0.5, 0.6, 3.0),
    thickness_mm=2.5,
    orientation="axial",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    protocol="Brain",
    body_part="HEAD",
    kernel="B30f",
    contrast="IV",
    sequence="SE",
    echo_time_ms=10.0,
    repetition_time_ms=600.0,
    inversion_time_ms=0.0,
    b_value=1000.0,
    manufacturer="GE",
)


def series(uid: str = "1", number: int | None = 1, files: int = 1, description: str = "AX T1", **made: Any) -> Series:
    return Series(
        series_instance_uid=uid,
        modality=Modality.MR,
        description=description,
        number=number,
        files=tuple(Path(f"{uid}-{n}") for n in range(files)),
        acquisition=replace(FULL, **made),
    )


HOLDS = {
    "description": "t1",
    "protocol": "^brain$",
    "sequence": "se",
    "kernel": "b3",
    "body_part": "head",
    "image_type": r"ORIGINAL\\PRIMARY",
    "manufacturer": "ge",
    "orientation": ("axial", "oblique"),
    "contrast": Contrast.WITH,
    "thickness_mm": Range(min=2.5, max=2.5),
    "slice_spacing_mm": Range(max=3),
    "in_plane_mm": Range(min=0.6),
    "n_slices": Range(min=20),
    "echo_time_ms": Range(max=20),
    "repetition_time_ms": Range(max=1000),
    "inversion_time_ms": Range(max=0),
    "b_value": Range(min=800),
}
FAILS = {
    "description": "t2",
    "protocol": "chest",
    "sequence": "gr",
    "kernel": "b7",
    "body_part": "chest",
    "image_type": "DERIVED",
    "manufacturer": "philips",
    "orientation": ("sagittal",),
    "contrast": Contrast.WITHOUT,
    "thickness_mm": Range(max=2),
    "slice_spacing_mm": Range(min=4),
    "in_plane_mm": Range(max=0.5),
    "n_slices": Range(min=21),
    "echo_time_ms": Range(min=50),
    "repetition_time_ms": Range(min=2000),
    "inversion_time_ms": Range(min=1),
    "b_value": Range(max=0),
}


def test_every_condition_is_tried() -> None:
    assert set(HOLDS) == set(FAILS) == set(Condition(**HOLDS).asked())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOLDS)
def test_a_condition_holds_or_not(name: str) -> None:
    def fits(**rule: Condition) -> bool:
        return decide([series()], [ChannelRule(name="x", **rule)])[0].chosen is not None  # type: ignore[arg-type]

    yes, no = Condition(**{name: HOLDS[name]}), Condition(**{name: FAILS[name]})  # type: ignore[arg-type]
    assert [fits(must=yes), fits(must=no), fits(must_not=yes), fits(must_not=no)] == [True, False, False, True]
    assert [fits(any_of=(no, yes)), fits(any_of=(no,))] == [True, False]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(HOLDS) - {"description", "n_slices"}))
def test_what_is_not_known_holds_nowhere(name: str) -> None:
    unknown = replace(series(), acquisition=Acquisition(), description="AX T1")
    condition = Condition(**{name: HOLDS[name]})  # type: ignore[arg-type]
    assert decide([unknown], [ChannelRule(name="x", must=condition)])[0].chosen is None
    assert decide([unknown], [ChannelRule(name="x", must_not=condition)])[0].chosen is unknown


def test_must_asks_for_all_and_must_not_for_none() -> None:
    both = Condition(kernel="b3", body_part="chest")
    assert decide([series()], [ChannelRule(name="x", must=both)])[0].chosen is None
    assert decide([series()], [ChannelRule(name="x", must_not=both)])[0].chosen is None


def points(preference: Preference, one: Series) -> float:
    return decide([one], [ChannelRule(name="x", prefer={"it": preference})])[0].candidates[0].points


@pytest.mark.parametrize(("spacing", "expected"), [(0.5, 4), (1, 4), (3.5, 2), (6, 0), (9, 0), (None, 0)])
def test_a_number_earns_a_share_of_the_points(spacing: float | None, expected: float) -> None:
    thin = Preference(points=4, value="slice_spacing_mm", best=1, worst=6)
    made = (1.0, 1.0, spacing) if spacing else None
    assert points(thin, series(spacing_mm=made, thickness_mm=None)) == expected


def test_more_can_be_better_and_a_condition_can_stand_beside_a_number() -> None:
    many = Preference(points=2, value="n_slices", best=110, worst=10, when=Condition(orientation=("axial",)))
    assert points(many, series(n_slices=60)) == 1
    assert points(many, series(n_slices=60, orientation="coronal")) == 0
    assert points(Preference(points=-2, when=Condition(kernel="b3")), series()) == -2


def test_more_points_win_then_more_slices_then_the_lower_number_then_the_lower_key() -> None:
    rule = ChannelRule(name="x", prefer={"head": Preference(points=1, when=Condition(body_part="head"))})
    ordered = [
        series("9", 9, n_slices=2),
        series("8", 8, n_slices=30, body_part=""),
        series("7", 3, n_slices=20, body_part=""),
        series("5", 4, n_slices=20, body_part=""),
        series("6", 4, n_slices=20, body_part=""),
        replace(series("6", 4, n_slices=20, body_part=""), part="echo-2"),
        series("1", None, n_slices=20, body_part=""),
    ]
    for given in (ordered, ordered[::-1], ordered[3:] + ordered[:3]):
        assert [one.series.key for one in decide(given, [rule])[0].candidates] == [one.key for one in ordered]


def test_files_count_where_nobody_counted_slices() -> None:
    few, many = series("1", files=3, n_slices=None), series("2", 2, files=9, n_slices=None)
    assert choose_series([few, many], [ChannelRule(name="x")]) == {"x": many}


def test_the_record_names_every_series_and_says_why() -> None:
    rules = [
        ChannelRule(
            name="t1", match="t1", prefer={"thin": Preference(points=2, value="thickness_mm", best=1, worst=5)}
        ),
        ChannelRule(name="rest"),
        ChannelRule(name="none", match="dwi"),
    ]
    given = [
        series("1", 1, thickness_mm=1.0),
        series("2", 2, thickness_mm=3.0),
        series("3", 3, description="AX T2"),
        replace(series("4", 4), modality=Modality.CT, description="CT"),
    ]
    t1, rest, none = decide(given, rules)
    assert [one.series.key for one in t1.candidates] == ["1", "2", "3", "4"]
    assert [one.points for one in t1.candidates] == [2, 1, 0, 0]
    assert t1.reason == "2 points (thin +2); 1 points before the next of 2 that may fill it"
    assert t1.candidates[2].obstacles == ("its description is not like match",)
    assert rest.chosen == given[1]
    assert rest.candidates[-1].obstacles == ("fills the channel t1",)
    assert none.chosen is None
    assert none.reason == "none of 4 series may fill it"
    assert decide([], rules)[0].reason == "the study has no series"


def test_reasons_hold_no_text_of_a_header() -> None:
    name_of_someone = "Lindenbrock"
    made = {
        name: f"{name_of_someone} {getattr(FULL, name)}" for name in ("protocol", "body_part", "kernel", "sequence")
    }
    one = series(
        description=f"{name_of_someone} AX T1 post",
        **made,
        contrast=name_of_someone,
        image_type=(name_of_someone,),
        manufacturer=name_of_someone,
    )
    rules = [ChannelRule(name="x", must=Condition(**{name: value})) for name, value in FAILS.items()]  # type: ignore[arg-type]
    rules += [ChannelRule(name="x", must_not=Condition(**{name: value})) for name, value in HOLDS.items()]  # type: ignore[arg-type]
    rules += [ChannelRule(preset=name) for name in PRESETS]
    for rule in rules:
        decision = decide([one], [rule])[0]
        said = [decision.reason, *decision.candidates[0].obstacles, *decision.candidates[0].remarks]
        assert name_of_someone not in " ".join(said)


def test_without_rules_the_presets_that_fit_are_suggested() -> None:
    names = [one.rule.name for one in decide_or_suggest([series(contrast=""), series("2", description="FLAIR")], None)]
    assert names == ["t1"]
    flair = series("2", description="FLAIR", echo_time_ms=120.0)
    assert [one.rule.name for one in decide_or_suggest([series(contrast=""), flair], None)] == ["t1", "flair"]


def test_a_pattern_that_backtracks_ends_the_study_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "PATTERN_SECONDS", 0.05)
    hostile = series(description="a" * 60 + "!")
    with pytest.raises(StudyError, match="takes longer") as caught:
        decide([hostile], [ChannelRule(name="x", match=r"(a|aa|a?a)+$")])
    assert caught.value.reason == "PATTERN_TOO_SLOW"


def test_a_pattern_sees_the_start_of_a_text_only() -> None:
    assert found("b", "a" * LONGEST_TEXT + "b") is None
    assert found("b", "a" * (LONGEST_TEXT - 1) + "b") == "b"


def test_full_width_letters_and_line_breaks_are_read_plainly() -> None:
    assert found("T1 post", "Ｔ１\n  post") == "T1 post"


@pytest.mark.parametrize(
    "text", ["t1", "post ", "a", "with and ", "w/", "+ ", "t2 ", "b", "pre ", "no", "-", "c+", "km"]
)
def test_no_preset_backtracks_on_repeats(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "PATTERN_SECONDS", 0.3)  # raises PATTERN_TOO_SLOW
    for ending in ("", "!", " 1"):
        decide_or_suggest([series(description=(text * 300)[: LONGEST_TEXT - len(ending)] + ending)], None)


def test_a_preset_is_written_out_and_what_stands_beside_it_goes_first() -> None:
    rule = ChannelRule(
        name="post",
        preset="t1ce",
        must=Condition(orientation=("axial",)),
        must_not=Condition(n_slices=Range(max=9)),
        prefer={
            "axial": Preference(points=0),
            "thin slices": Preference(points=9, value="thickness_mm", best=1, worst=2),
        },
    )
    preset = PRESETS["t1ce"]
    assert (rule.name, rule.preset, rule.modality) == ("post", "", Modality.MR)
    assert rule.must == Condition(orientation=("axial",), contrast=Contrast.WITH)
    assert rule.must_not == replace(preset.must_not, n_slices=Range(max=9))
    assert rule.any_of == preset.any_of
    assert set(rule.prefer) == set(preset.prefer) - {"axial"}
    assert rule.prefer["thin slices"].points == 9


def test_a_match_of_ones_own_replaces_the_way_a_preset_knows_the_series() -> None:
    rule = ChannelRule(preset="t1", match="anatomy")
    assert (rule.any_of, rule.exclude) == ((), PRESETS["t1"].exclude)
    assert decide([series(description="anatomy", contrast="")], [rule])[0].chosen is not None


@pytest.mark.parametrize("name", PRESETS)
def test_a_written_out_preset_comes_back_equal(name: str) -> None:
    adapter = TypeAdapter(ChannelRule)
    rule = ChannelRule(preset=name)
    assert adapter.validate_json(adapter.dump_json(rule), strict=True) == rule


def test_conditions_are_written_without_what_they_do_not_ask() -> None:
    written = TypeAdapter(Condition).dump_python(Condition(kernel="b3", n_slices=Range(min=4)), mode="json")
    assert written == {"kernel": "b3", "n_slices": {"min": 4.0}}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ChannelRule(), "a name or a preset"),
        (lambda: ChannelRule(preset="t9"), "no preset 't9'; there are t1, t1ce"),
        (lambda: ChannelRule(name="x", must=Condition(kernel="(")), "kernel"),
        (lambda: Range(min=3, max=2), "min <= max"),
        (lambda: Preference(points=1), "needs `when"),
        (lambda: Preference(points=1, value="n_slices", best=3), "best and worst"),
        (lambda: Preference(points=1, value="n_slices", best=3, worst=3), "best and worst"),
        (lambda: Preference(points=1, best=3, worst=4), "best and worst"),
    ],
)
def test_rules_that_mean_nothing_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()
