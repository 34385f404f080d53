from pathlib import Path

import pytest

from medfuse.domain import LabelSet, LabelValue
from medfuse.errors import ManifestError, UsageError
from medfuse.evaluation import Case
from medfuse.evaluation.resampling import Resampling
from medfuse.evaluation.sites import check_unseen, site_figures

SITES = {"s1": "A", "s2": "A", "s3": "B", "s4": "B", "s5": "C", "s6": "C"}


def manifest(tmp_path: Path, sites: dict[str, str]) -> Path:
    path = tmp_path / "manifest.csv"
    lines = [f"{uid},{site}" for uid, site in sites.items()]
    path.write_text("\n".join(["study_instance_uid,site", *lines]) + "\n", "utf-8")
    return path


def folds(tmp_path: Path, *tests: set[str]) -> dict[str, Path]:
    """One run a fold; the first study of the others is validation."""
    runs = {}
    for n, tested in enumerate(tests):
        run = tmp_path / f"fold-{n}"
        run.mkdir()
        rest = [uid for uid in SITES if uid not in tested]
        splits = {uid: "test" if uid in tested else "validation" if uid == rest[0] else "train" for uid in SITES}
        lines = [f"{uid},p{uid},{split}" for uid, split in splits.items()]
        (run / "splits.csv").write_text("\n".join(["study_instance_uid,patient_key,split", *lines]) + "\n", "utf-8")
        runs[run.name] = run
    return runs


def test_folds_of_whole_sites_pass(tmp_path: Path) -> None:
    check_unseen(folds(tmp_path, {"s1", "s2"}, {"s3", "s4"}, {"s5", "s6"}), manifest(tmp_path, SITES), "site")


def test_a_site_that_was_trained_on_is_refused_with_its_name(tmp_path: Path) -> None:
    runs = folds(tmp_path, {"s1", "s2"}, {"s3", "s5"})
    with pytest.raises(UsageError, match=r"fold-1 was trained or chosen on studies of 2 of its test sites \(B, C\)"):
        check_unseen(runs, manifest(tmp_path, SITES), "site")


def test_a_site_of_the_validation_studies_was_seen_too(tmp_path: Path) -> None:
    runs = folds(tmp_path, {"s2"})  # s1, of the same site, is validation
    with pytest.raises(UsageError, match="1 of its test sites"):
        check_unseen(runs, manifest(tmp_path, SITES), "site")


def test_a_study_without_a_site_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    runs = folds(tmp_path, {"s1", "s2"})
    with pytest.raises(UsageError, match="has no site"):
        check_unseen(runs, manifest(tmp_path, {**SITES, "s1": ""}), "site")
    with pytest.raises(ManifestError, match="no column 'scanner'"):
        check_unseen(runs, manifest(tmp_path, SITES), "scanner")


def test_each_site_counts_once_in_the_mean() -> None:
    cases = [
        Case(
            study_instance_uid=f"{site}{n}",
            patient_key=f"{site}{n}",
            labels={"nodule": LabelValue.PRESENT},
            dice={"lung": dice},
            groups={"site": site},
        )
        for site, dice, count in (("A", 0.9, 30), ("B", 0.7, 3))
        for n in range(count)
    ]
    found = site_figures("site", LabelSet(segments=("lung",)), cases, {}, Resampling(draws=20))
    assert [(site.value, site.studies, site.unseen) for site in found.sites] == [("A", 30, True), ("B", 3, True)]
    assert found.mean == {"lung, Dice": pytest.approx(0.8)}
    assert found.spread["lung, Dice"] == pytest.approx(0.2 / 2**0.5)
    assert (found.lowest["lung, Dice"], found.highest["lung, Dice"]) == pytest.approx((0.7, 0.9))
