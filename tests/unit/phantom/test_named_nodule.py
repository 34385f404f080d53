"""The named nodule: two of them in every chest, one in the lobe that the indication names, and nothing else tells."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medfuse.ingest import find_studies, read_segmentation, read_volume
from medfuse.phantom import FAMILIES, PhantomTruth, write_phantom
from medfuse.phantom.chest_ct import chest_of
from medfuse.phantom.named_nodule import MIDDLE_MM, PLACES
from medfuse.phantom.plan import plan_studies

STUDIES = 16


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    root = tmp_path_factory.mktemp("named") / "studies"
    return root, write_phantom("named_nodule", root, studies=STUDIES, seed=5)


def test_the_segment_lies_in_the_lobe_that_the_indication_names(written: tuple[Path, PhantomTruth]) -> None:
    root, truth = written
    facts = {study.study_instance_uid: study.facts for study in truth.studies}
    named = Counter()
    for study in find_studies(root).studies:
        volume = read_volume(study.series[0])
        segmentation = read_segmentation(study.segmentations[0], volume.geometry)
        x, _, z = volume.geometry.affine.apply(np.argwhere(segmentation.label_map == 1).mean(axis=0))
        side, level = "left" if x > 0 else "right", "upper" if z > MIDDLE_MM else "lower"
        told = facts[study.study_instance_uid]
        assert told["named"] == f"{side} {level}"
        assert told["other"] in {" ".join(place) for place in PLACES} - {told["named"]}
        named[side, level] += 1
        for report in study.reports:
            indication = report.select(["INDICATION"]).lower()
            assert side in indication
            assert level in indication
            assert not {"left", "right", "upper", "lower"} & set(indication.split()) - {side, level}
    assert len(named) == 4


def test_both_nodules_are_in_the_image_and_alike() -> None:
    kind = FAMILIES["named_nodule"]
    differences = []
    for plan in plan_studies(kind.name, studies=8, seed=5, ages=kind.ages, quantities=kind.quantities):
        case = kind.make(plan)
        without = chest_of(plan, case.geometry).image
        series = case.series[0]
        hounsfield = series.voxels.astype(float) + float(series.attributes["RescaleIntercept"])
        added, count = ndimage.label(ndimage.binary_opening(hounsfield - without > 500))
        sizes = np.bincount(added.ravel())[1:]
        two = 1 + np.argsort(-sizes)[:2]
        assert count >= 2
        of_label = [(case.label_map[added == n] == 1).mean() for n in two]
        assert sorted(share > 0.9 for share in of_label) == [False, True]
        assert min(of_label) == 0
        named, other = sorted(two, key=lambda n: -(case.label_map[added == n]).mean())
        differences.append(hounsfield[added == named].mean() - hounsfield[added == other].mean())
    assert abs(np.mean(differences)) < 30


def test_the_same_seed_gives_the_same_files(written: tuple[Path, PhantomTruth], tmp_path: Path) -> None:
    root, truth = written
    assert write_phantom("named_nodule", tmp_path / "again", studies=STUDIES, seed=5) == truth
    for file in sorted(path for path in root.rglob("*") if path.is_file())[::7]:
        assert (tmp_path / "again" / file.relative_to(root)).read_bytes() == file.read_bytes()
