"""The fingerprint of made studies says what they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfuse.domain import LabelValue
from medfuse.errors import ManifestError
from medfuse.ingest import ManifestRow, find_studies, row_of
from medfuse.phantom import PhantomTruth, write_phantom
from medfuse.planning import Fingerprint, look_at
from medfuse.planning.fingerprint import write_fingerprint
from tests.unit.ingest.made_dicom import write_series
from tests.unit.planning.fingerprints import CPU

STUDIES = 6


def present_if(value: int) -> LabelValue:
    return LabelValue.PRESENT if value else LabelValue.ABSENT


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhantomTruth, list[ManifestRow]]:
    """Made chest CTs, their truth and their rows."""
    root = tmp_path_factory.mktemp("look") / "chest"
    truth = write_phantom("chest_ct", root, studies=STUDIES, seed=5)
    labels = {study.study_instance_uid: study.labels for study in truth.studies}
    rows = [
        row_of(study, root, {name: present_if(value) for name, value in labels[study.study_instance_uid].items()})
        for study in find_studies(root).studies
    ]
    return truth, rows


@pytest.fixture(scope="module")
def seen(made: tuple[PhantomTruth, list[ManifestRow]]) -> Fingerprint:
    return look_at(made[1], CPU)


def test_grids_segments_and_findings_are_those_of_the_truth(
    made: tuple[PhantomTruth, list[ManifestRow]], seen: Fingerprint
) -> None:
    truth = made[0]

    assert (seen.studies, seen.looked_at, seen.usable, seen.delineated) == (STUDIES,) * 4
    assert sorted(grid.shape for grid in seen.grids) == sorted(study.shape for study in truth.studies)
    assert sorted(grid.spacing_mm for grid in seen.grids) == sorted(study.spacing_mm for study in truth.studies)
    volumes = {
        name: [study.volumes_mm3[name] / 1000 for study in truth.studies if study.volumes_mm3[name] > 0]
        for name in truth.segments
    }
    assert [segment.name for segment in seen.segments] == list(truth.segments)
    for segment in seen.segments:
        assert segment.studies == len(volumes[segment.name])
        assert segment.median_ml == pytest.approx(np.median(volumes[segment.name]), rel=1e-3)
    for name in truth.findings:
        present = sum(bool(study.labels[name]) for study in truth.studies)
        assert seen.findings[name].get("PRESENT", 0) == present


def test_the_lung_is_dark_and_the_body_reaches_bone(seen: Fingerprint) -> None:
    (channel,) = seen.channels
    intensities = channel.intensities

    assert (channel.name, channel.studies) == ("ct", STUDIES)
    assert intensities is not None
    assert intensities.foreground == "inside the segments"
    assert -1000 < intensities.low < -900 < intensities.median < -700
    assert intensities.body_low >= -950
    assert intensities.body_high > intensities.high


def test_reports_are_counted_by_their_sections(made: tuple[PhantomTruth, list[ManifestRow]], seen: Fingerprint) -> None:
    truth = made[0]

    assert seen.text.with_report == seen.text.with_input == sum(study.has_report for study in truth.studies)
    assert seen.text.sections["HISTORY"] == seen.text.with_report
    assert seen.text.sections.get("FINDINGS", 0) == sum(
        study.has_report and study.report_states_answer for study in truth.studies
    )
    assert 5 < seen.text.median_words <= seen.text.long_words


def test_it_repeats_in_any_order_and_names_nobody(
    made: tuple[PhantomTruth, list[ManifestRow]], seen: Fingerprint, tmp_path: Path
) -> None:
    truth, rows = made
    again = look_at(rows[::-1], CPU)
    write_fingerprint(tmp_path / "f.json", again)
    text = (tmp_path / "f.json").read_text(encoding="utf-8")

    assert replace(again, seconds_a_study=0.0, findings={}) == replace(seen, seconds_a_study=0.0, findings={})
    for study in truth.studies:
        for secret in (study.patient_id, study.study_instance_uid, study.accession, study.directory):
            assert secret not in text
    assert all(row.patient_key not in text for row in rows)
    assert json.loads(text)["schema_version"] == 1


def test_a_large_data_set_is_sampled_and_counted_whole(made: tuple[PhantomTruth, list[ManifestRow]]) -> None:
    looked: list[None] = []
    seen = look_at(made[1], CPU, most=3, on_study=lambda: looked.append(None))

    assert (seen.studies, seen.looked_at, len(seen.grids), len(looked)) == (STUDIES, 3, 3, 3)
    assert sum(seen.findings["nodule"].values()) == STUDIES


def test_studies_that_cannot_be_used_are_counted_by_reason(
    made: tuple[PhantomTruth, list[ManifestRow]], tmp_path: Path
) -> None:
    write_series(tmp_path / "gone")
    (study,) = find_studies(tmp_path / "gone").studies
    gone = replace(row_of(study, tmp_path / "gone", dict(made[1][0].labels)), path=tmp_path / "nowhere")
    looked: list[None] = []

    assert look_at([*made[1], gone], CPU, on_study=lambda: looked.append(None)).unusable == {"STUDY_NOT_FOUND": 1}
    assert len(looked) == STUDIES + 1
    with pytest.raises(ManifestError, match=r"none of the 1 studies looked at can be used \(STUDY_NOT_FOUND\)"):
        look_at([gone], CPU)
