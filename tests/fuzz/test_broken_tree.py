"""A tree in which one file of twenty is broken: it is indexed to the end, and every broken file is counted."""

import random
import re
from pathlib import Path

from medfuse.ingest import find_studies, read_volume
from tests.dicom_cases import save, slices, truth_of, uid

SERIES, SLICES, BROKEN = 20, 20, 20


def write_tree(root: Path) -> list[Path]:
    paths = []
    for n in range(SERIES):
        study = {"StudyInstanceUID": uid("tree study", n // 2), "PatientID": f"P{n // 2}"}
        for k, dataset in enumerate(slices(truth_of((12, 10, SLICES), seed=n), series=f"tree {n}", **study)):
            paths.append(save(dataset, root / f"study{n // 2}" / f"series{n}" / f"{k}.dcm"))
    return paths


def damage(path: Path, kind: int, rng: random.Random) -> None:
    """Break a file so that nothing can be made of it."""
    data = path.read_bytes()
    ways = (
        data[: len(data) - 150],  # the pixels end early
        data[: rng.randrange(300, 700)],  # the header ends early
        b"",
        rng.randbytes(900),
        b"<html>404</html>" * 60,
    )
    path.write_bytes(ways[kind % len(ways)])


def test_a_tree_with_five_per_cent_broken_files_is_indexed_and_lists_them(tmp_path: Path) -> None:
    rng = random.Random(5)
    paths = write_tree(tmp_path)
    series_hit = rng.sample(range(SERIES // 2), 5)
    broken = [path for n in series_hit for path in rng.sample(paths[n * SLICES : (n + 1) * SLICES], BROKEN // 5)]
    for n, path in enumerate(broken):
        damage(path, n, rng)
    found = find_studies(tmp_path)
    lines = [line for study in found.studies for line in study.problems]
    lines += [f"{rejected.reason}: {rejected.detail}" for rejected in found.rejected]
    counted = sum(int(number) for line in lines for number in re.findall(r"^[A-Z_]+: (\d+) files?:", line))
    assert counted == BROKEN, lines
    assert len(found.studies) == SERIES // 2
    whole = {uid(f"tree {n}") for n in range(SERIES) if n not in series_hit}
    series = {one.series_instance_uid: one for study in found.studies for one in study.series}
    assert whole <= set(series)
    for name in sorted(whole):
        assert read_volume(series[name]).voxels.shape == (12, 10, SLICES)
    for n in series_hit:
        assert any(uid(f"tree {n}") in line or f"series{n}/" in line for line in lines)
