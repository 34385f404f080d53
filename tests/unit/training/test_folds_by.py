"""Folds by a column of the manifest, as `evaluate --sites` wants them."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from medfuse.errors import ManifestError, UsageError
from medfuse.ingest.manifest import read_manifest, write_manifest
from medfuse.training.options import DataOptions
from medfuse.training.studies import splits_of
from tests.unit.training.test_resume import make_plan
from tests.unit.training.test_start import rows_of


def write_with_sites(path: Path, sites: list[str]) -> None:
    write_manifest(path, rows_of(len(sites)))
    with path.open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "site"])
        writer.writeheader()
        writer.writerows(row | {"site": site} for row, site in zip(rows, sites, strict=True))


def test_a_fold_is_a_site(tiny_bert: Path, tmp_path: Path) -> None:
    manifest, sites = tmp_path / "m.csv", ["north", "south", "east"] * 5
    write_with_sites(manifest, sites)
    rows = read_manifest(manifest)
    site = {row.study_instance_uid: name for row, name in zip(rows, sites, strict=True)}
    tested = set()
    for fold in range(3):
        data = DataOptions(manifest=manifest, folds=3, test_fold=fold, folds_by="site")
        splits = splits_of(rows, replace(make_plan(tiny_bert), data=data))
        (left_out,) = {site[uid] for uid, split in splits.items() if split == "test"}
        assert left_out not in {site[uid] for uid, split in splits.items() if split != "test"}
        tested.add(left_out)
    assert tested == set(sites)


def test_a_study_without_a_site_and_a_manifest_without_the_column_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    write_with_sites(manifest, ["north", "south", "", ""])
    data = DataOptions(manifest=manifest, folds=2, folds_by="site")
    with pytest.raises(UsageError, match="2 studies have nothing in the column site"):
        splits_of(read_manifest(manifest), replace(make_plan(tiny_bert), data=data))
    with pytest.raises(ManifestError, match="hospital"):
        splits_of(read_manifest(manifest), replace(make_plan(tiny_bert), data=replace(data, folds_by="hospital")))
