"""Regions by name and by number."""

from medfuse.domain.segmentation import Segment
from medfuse.planning.regions import Regions


def counted(*studies: list[tuple[int, str, float]]) -> tuple[list[str], dict[str, int]]:
    regions = Regions()
    for study in studies:
        regions.add([(Segment(number=number, name=name), volume) for number, name, volume in study])
    common, rare = regions.common(len(studies))
    return [region.name for region in common], rare


def test_the_same_words_are_the_same_region_under_its_usual_name_in_the_order_of_numbers() -> None:
    names, rare = counted(
        [(1, "Left_Kidney", 100.0), (2, "liver", 1500.0)],
        [(1, "kidney left", 90.0), (2, "Liver", 1400.0)],
        [(1, "Left_Kidney", 95.0), (2, "liver", 0.0)],
    )

    assert names == ["Left_Kidney", "Liver"]
    assert rare == {}


def test_a_region_of_few_studies_is_rare() -> None:
    names, rare = counted(*[[(1, "liver", 1500.0)]] * 19, [(1, "liver", 1500.0), (2, "cyst", 1.0)])

    assert (names, rare) == (["liver"], {"cyst": 1})


def test_numbers_for_names_keep_their_places_up_to_the_first_gap() -> None:
    names, rare = counted(*[[(1, "1", 5.0), (2, "2", 5.0), (4, "4", 5.0)]] * 3)

    assert (names, rare) == (["1", "2"], {"4": 3})
