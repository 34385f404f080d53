import numpy as np
import pytest

from medfuse.domain import Modality, SectionName, Series
from medfuse.errors import ConfigError, LabelLeakageError
from medfuse.preprocess import ChannelRule, Recipe, Window
from medfuse.preprocess.channels import choose_series
from medfuse.preprocess.intensity import normalise

CHANNELS = (ChannelRule(name="t1"),)


def recipe(**changes: object) -> Recipe:
    return Recipe(**({"channels": CHANNELS, "spacing_mm": (1, 1, 1), "size": (8, 8, 8)} | changes))  # type: ignore[arg-type]


def series(uid: str, description: str, files: int, number: int = 1, modality: Modality = Modality.MR) -> Series:
    from pathlib import Path

    return Series(
        series_instance_uid=uid,
        modality=modality,
        description=description,
        number=number,
        files=tuple(Path(f"{uid}-{n}") for n in range(files)),
    )


@pytest.mark.parametrize("section", [SectionName.FINDINGS, SectionName.IMPRESSION, SectionName.OTHER])
def test_sections_that_may_hold_the_answer_are_refused(section: SectionName) -> None:
    with pytest.raises(LabelLeakageError, match=section.value):
        recipe(text_sections=(SectionName.HISTORY, section))


def test_leakage_can_be_asked_for() -> None:
    assert recipe(text_sections=(SectionName.FINDINGS,), allow_leakage=True).allow_leakage


def test_channels_need_unique_names() -> None:
    with pytest.raises(ConfigError, match="unique"):
        recipe(channels=(ChannelRule(name="a"), ChannelRule(name="a")))


def test_a_broken_pattern_is_refused_with_its_channel() -> None:
    with pytest.raises(ConfigError, match="channel t1"):
        ChannelRule(name="t1", match="(")


def test_rules_choose_by_modality_description_and_number_of_files() -> None:
    found = [
        series("1", "AX T1 POST", 20, 4),
        series("2", "AX T1 PRE", 20, 3),
        series("3", "T1 SCOUT", 3, 1),
        series("4", "FLAIR", 20, 5),
        series("5", "T1 like CT", 90, 6, Modality.CT),
    ]
    rules = (
        ChannelRule(name="t1ce", modality=Modality.MR, match=r"t1.*(post|gad)"),
        ChannelRule(name="t1", modality=Modality.MR, match="t1", exclude="post|gad"),
        ChannelRule(name="t2", match="t2"),
    )
    chosen = choose_series(found, rules)
    assert {name: one.series_instance_uid for name, one in chosen.items()} == {"t1ce": "1", "t1": "2"}


def test_one_series_fills_one_channel_and_ties_go_to_the_lower_number() -> None:
    found = [series("b", "T1", 10, 2), series("a", "T1", 10, 1)]
    chosen = choose_series(found, (ChannelRule(name="x"), ChannelRule(name="y"), ChannelRule(name="z")))
    assert [one.series_instance_uid for one in chosen.values()] == ["a", "b"]


def test_a_window_maps_its_ends_to_one_and_clips() -> None:
    out = normalise(np.array([-2000.0, -1000, 0, 1000, 3000]), Window(low=-1000, high=1000))
    assert out.tolist() == [-1, -1, 0, 1, 1]


def test_arbitrary_units_are_standardised_whatever_their_scale() -> None:
    image = np.random.default_rng(0).gamma(2, 100, (20, 20, 20))
    image[:5] = 0
    one, other = normalise(image, None), normalise(image * 37, None)
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert abs(one[5:].mean()) < 0.05
    assert 0.9 < one[5:].std() < 1.1


def test_a_constant_image_becomes_zero() -> None:
    assert not normalise(np.full((3, 3, 3), 7.0), None).any()
