"""Opening a review: of results, of any folder of studies, of an earlier one; and the index that follows the files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medfuse.config.lexicon import load_lexicon
from medfuse.domain import Segment, Subject, SubjectKind, Verdict
from medfuse.errors import StorageError, UsageError
from medfuse.ingest import read_segmentation, read_volume
from medfuse.review import (
    CaseStatus,
    RoomKind,
    WorklistFilter,
    decisions_folder,
    local_reader,
    open_room,
    room_from_environment,
)
from medfuse.review.room_files import keep_lexicon, kept_lexicon
from tests.unit.review.rooms import (
    LABELS,
    NODULE,
    READER,
    desk_of,
    handle_of,
    opened,
    prediction,
    rejected,
    write_results,
    write_studies,
)


class TestResults:
    def test_what_a_room_of_results_knows(self, tmp_path: Path) -> None:
        room = opened(write_results(tmp_path, rejected(1), prediction(2, 0.9)))
        assert (room.kind, room.holds_studies, room.n_listed) == (RoomKind.RESULTS, False, 2)
        assert (room.findings, room.segments, room.targets) == (LABELS.findings, LABELS.segments, LABELS.targets)
        assert (room.decisions, room.place) == (tmp_path, tmp_path)
        assert room.lexicon is not None
        assert set(room.lexicon.findings) == set(LABELS.findings)

    def test_the_index_follows_what_is_scored(self, tmp_path: Path) -> None:
        room = open_room(write_results(tmp_path, prediction(1, 0.9)))
        assert [room.refresh(), room.refresh()] == [1, 0]
        desk = room.desk(READER)
        desk.decide(handle_of(desk, 1), NODULE, Verdict.ACCEPTED)
        write_results(tmp_path, prediction(1, 0.4), prediction(2, 0.2))
        assert room.refresh() == 2
        first = next(row for row in desk.page().rows if row.accession_number == "A1")
        assert first.probabilities["lung_nodule"] == 0.4
        assert first.status is CaseStatus.STARTED
        assert open_room(tmp_path).refresh() == 0

    def test_a_study_that_is_gone_is_not_listed_and_its_decisions_stay(self, tmp_path: Path) -> None:
        desk = desk_of(write_results(tmp_path, prediction(1, 0.9), prediction(2, 0.2)))
        desk.decide(handle_of(desk, 2), NODULE, Verdict.ACCEPTED)
        (tmp_path / "scores.csv").unlink()
        write_results(tmp_path, prediction(1, 0.9))
        desk = desk_of(tmp_path)
        assert [row.accession_number for row in desk.page().rows] == ["A1"]
        assert len(desk.room.store.history("1.2.2")) == 1

    def test_without_predictions_the_table_has_to_do(self, tmp_path: Path) -> None:
        write_results(tmp_path, prediction(1, 0.9))
        (tmp_path / "1.2.1" / "prediction.json").unlink()
        desk = desk_of(tmp_path)
        (row,) = desk.page().rows
        assert (row.highest, row.priority_reason) == (
            ("lung_nodule", 0.9),
            "lung nodule 0.90, without an operating point.",
        )
        assert "prediction.json" in desk.case(row.handle).problem

    def test_files_of_no_study_are_listed_and_cannot_be_decided_on(self, tmp_path: Path) -> None:
        from dataclasses import replace

        nameless = replace(rejected(1), study_instance_uid="", accession_number="")
        desk = desk_of(write_results(tmp_path, nameless, nameless, prediction(2, 0.9)))
        rows = desk.page(WorklistFilter(has_result=False)).rows
        assert [row.title for row in rows] == ["files of no study"] * 2
        with pytest.raises(UsageError, match="belong to no study"):
            desk.decide(rows[0].handle, NODULE, Verdict.ACCEPTED)

    def test_priors_are_the_other_studies_of_the_patient_newest_first(self, tmp_path: Path) -> None:
        patients = {1: "p", 2: "p", 3: "p", 4: "q"}
        days = {n: f"2026-01-0{n}T00:00:00+00:00" for n in patients}
        desk = desk_of(
            write_results(tmp_path, *(prediction(n, 0.1, created_at=days[n]) for n in patients), patients=patients)
        )
        assert [row.accession_number for row in desk.priors(handle_of(desk, 1))] == ["A3", "A2"]
        assert desk.priors(handle_of(desk, 4)) == ()

    def test_decisions_may_go_elsewhere(self, tmp_path: Path) -> None:
        folder = write_results(tmp_path / "results", prediction(1, 0.9))
        before = sorted(folder.iterdir())
        desk = desk_of(folder, decisions=tmp_path / "kept")
        desk.decide(handle_of(desk, 1), NODULE, Verdict.ACCEPTED)
        assert sorted(folder.iterdir()) == before
        again = desk_of(tmp_path / "kept")
        assert again.room.kind is RoomKind.RESULTS
        assert len(again.case(handle_of(again, 1)).history) == 1


class TestStudies:
    def test_any_folder_of_studies_is_a_worklist(self, tmp_path: Path) -> None:
        room = opened(write_studies(tmp_path / "studies"))
        assert (room.kind, room.n_listed) == (RoomKind.STUDIES, 2)
        assert room.decisions == tmp_path / "studies.review"
        rows = room.desk(READER).page().rows
        assert {row.priority_reason for row in rows} == {"1 existing mask, 1 report; no model has answered."}
        assert {(row.n_delineations, row.status) for row in rows} == {(1, CaseStatus.OPEN)}

    def test_no_torch_is_loaded_and_nothing_is_written_among_the_studies(self, tmp_path: Path) -> None:
        folder = write_studies(tmp_path / "studies")
        before = sorted(folder.rglob("*"))
        code = (
            "import sys; from pathlib import Path; from medfuse.review import open_room, local_reader\n"
            "room = open_room(Path(sys.argv[1])); room.refresh()\n"
            "desk = room.desk(local_reader('a')); case = desk.case(desk.page().rows[0].handle)\n"
            "case.study(); heavy = ('torch', 'monai', 'transformers', 'streamlit')\n"
            "print([name for name in heavy if name in sys.modules])"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout.strip() == "[]"
        assert sorted(folder.rglob("*")) == before

    def test_masks_and_decisions_of_several_readers_stand_side_by_side(self, tmp_path: Path) -> None:
        room = opened(write_studies(tmp_path / "studies", n=1))
        ames, bell = room.desk(READER), room.desk(local_reader("Dr. Bell"))
        handle = ames.page().rows[0].handle
        study = ames.case(handle).study()
        (existing,) = ames.case(handle).delineations(study)
        theirs = Subject(kind=SubjectKind.SEGMENT, name="segment_1", delineation=existing.id)
        ames.decide(handle, theirs, Verdict.ACCEPTED)
        drawn = np.zeros((6, 5, 4), dtype=np.uint8)
        drawn[1:3, 1:3, 1:3] = 1
        segments = (Segment(number=1, name="segment_1", algorithm_type="MANUAL"),)
        mask = bell.save_segmentation(handle, drawn, study.series[0].key, segments)
        bell.decide(handle, theirs, Verdict.REJECTED, mask=mask)
        case = ames.case(handle)
        assert {name: reading.decisions[theirs].verdict for name, reading in case.readings.items()} == {
            "Dr. Ames": Verdict.ACCEPTED,
            "Dr. Bell": Verdict.REJECTED,
        }
        first, second = case.delineations(study)
        assert (first.reader, second.reader, second.id) == ("", "Dr. Bell", mask)
        assert existing.label == "labels/case0.nii.gz"
        geometry = read_volume(study.series[0]).geometry
        assert np.array_equal(read_segmentation(second.path, geometry).label_map, drawn)
        assert second.path.is_relative_to(room.decisions)

    def test_a_segmentation_that_does_not_fit_is_refused(self, tmp_path: Path) -> None:
        desk = desk_of(write_studies(tmp_path / "studies", n=1))
        handle = desk.page().rows[0].handle
        key = desk.case(handle).study().series[0].key
        with pytest.raises(UsageError, match="does not fill the grid"):
            desk.save_segmentation(handle, np.zeros((2, 2, 2), dtype=np.uint8), key, ())
        with pytest.raises(UsageError, match="which no segment names"):
            desk.save_segmentation(handle, np.ones((6, 5, 4), dtype=np.uint8), key, ())
        with pytest.raises(UsageError, match="no such series"):
            desk.save_segmentation(handle, np.zeros((6, 5, 4), dtype=np.uint8), "1.2.3", ())

    def test_the_decisions_folder_opens_the_same_review(self, tmp_path: Path) -> None:
        folder = write_studies(tmp_path / "studies")
        desk = desk_of(folder)
        desk.sign_off(desk.page().rows[0].handle)
        again = desk_of(tmp_path / "studies.review")
        assert again.room.place == folder
        assert again.page().counts[CaseStatus.SIGNED] == 1

    def test_a_new_study_and_a_changed_one_are_seen(self, tmp_path: Path) -> None:
        folder = write_studies(tmp_path / "studies", n=1)
        room = open_room(folder)
        assert room.refresh() == 1
        write_studies(folder, n=2)
        assert open_room(folder).refresh() >= 1
        assert open_room(folder).desk(READER).page().total == 2

    def test_files_that_a_scan_cannot_use_are_seen(self, tmp_path: Path) -> None:
        folder = write_studies(tmp_path / "studies", n=1)
        (folder / "images" / "broken.nii.gz").write_bytes(b"no image")
        desk = desk_of(folder)
        (row,) = desk.page(WorklistFilter(has_result=False)).rows
        assert (row.title, row.priority_reason) == ("files of no study", f"Cannot be opened: {row.reason}.")
        assert row.status is CaseStatus.NO_RESULT
        with pytest.raises(UsageError):
            desk.case(row.handle).study()
        assert desk.room.refresh() == 0

    def test_findings_are_those_of_a_lexicon(self, tmp_path: Path) -> None:
        folder = write_studies(tmp_path / "studies")
        assert open_room(folder).findings == ()
        lexicon = load_lexicon(Path("configs/labels/chest_ct.yaml"))
        keep_lexicon(decisions_folder(folder), lexicon)
        kept = kept_lexicon(decisions_folder(folder))
        assert kept == lexicon
        assert open_room(folder).findings == tuple(lexicon.findings)

    def test_a_broken_lexicon_or_room_file_says_so(self, tmp_path: Path) -> None:
        folder = write_studies(tmp_path / "studies", n=1)
        open_room(folder).close()
        decisions = decisions_folder(folder)
        (decisions / "lexicon.json").write_text('{"findings": {"a": 3}}')
        with pytest.raises(UsageError, match="no lexicon of medfuse"):
            open_room(folder)
        (decisions / "review.json").write_text("{}")
        with pytest.raises(UsageError, match="does not say where the studies lie"):
            open_room(decisions)

    def test_the_decisions_of_other_studies_are_not_taken_over(self, tmp_path: Path) -> None:
        open_room(write_studies(tmp_path / "a", n=1)).close()
        with pytest.raises(UsageError, match="holds the decisions on"):
            open_room(write_studies(tmp_path / "b", n=1), decisions=tmp_path / "a.review")


def test_nothing_to_review_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        open_room(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is empty"):
        open_room(tmp_path / "empty")
    assert not (tmp_path / "empty.review").exists()


def test_decisions_that_cannot_be_kept_are_said_at_once(tmp_path: Path) -> None:
    folder = write_studies(tmp_path / "studies", n=1)
    (tmp_path / "studies.review").write_text("a file")
    with pytest.raises(StorageError, match="choose another place"):
        open_room(folder)


def test_the_environment_says_what_is_reviewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDFUSE_REVIEW_DIR", raising=False)
    with pytest.raises(UsageError, match="medfuse review DIR"):
        room_from_environment()
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(write_results(tmp_path / "results", prediction(1, 0.9))))
    monkeypatch.setenv("MEDFUSE_REVIEW_DECISIONS", str(tmp_path / "kept"))
    monkeypatch.setenv("MEDFUSE_REVIEW_BLIND", "1")
    room = room_from_environment()
    assert (room.decisions, room.policy.blind) == (tmp_path / "kept", True)
    assert json.loads((tmp_path / "kept" / "review.json").read_text())["place"] == str(tmp_path / "results")


def test_a_nifti_file_alone_can_be_reviewed(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), dtype=np.float32), np.eye(4)), tmp_path / "one.nii.gz")
    room = opened(tmp_path / "one.nii.gz")
    assert (room.n_listed, room.decisions) == (1, tmp_path / "one.nii.gz.review")
