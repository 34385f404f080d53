"""scores.csv: rows, repairs, refusals."""

import csv
import dataclasses
import errno
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.domain import (
    Familiarity,
    Finding,
    LabelSet,
    LabelValue,
    Prediction,
    QualityFlag,
    Scored,
    Target,
    TargetKind,
    TargetPrediction,
)
from medfuse.errors import StorageError, UsageError
from medfuse.outputs import ScoreTable, read_scores, table
from tests.unit.outputs import cases

HEADER = (
    "study_instance_uid,accession_number,status,reason,model,probability_atrophy,probability_impairment,"
    "volume_mm3_anterior hippocampus,volume_mm3_posterior hippocampus,"
    "prediction_set_atrophy,prediction_set_impairment,familiarity_distance,unfamiliar,quality,"
    "seconds_read,seconds_preprocess,seconds_network,seconds_restore,seconds_save"
)
OLDER_HEADER = HEADER[: HEADER.index(",prediction_set_atrophy")]


def outcome(uid: str, probability: float = 0.25, **changes: str) -> Scored:
    said = dataclasses.replace(cases.prediction(uid, probability=probability), **changes)
    return Scored(prediction=said)


def write(path: Path, *outcomes: object, labels: LabelSet = cases.LABELS) -> None:
    with ScoreTable(path, labels, model=cases.MODEL) as scores:
        for one in outcomes:
            scores.append(one)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "scores.csv"


def test_the_file_to_the_letter(path: Path) -> None:
    write(path, outcome("1.1"), cases.rejected("1.2"))
    assert path.read_bytes().decode() == (
        f"{HEADER}\n"
        "1.1,ACC1,scored,,hippocampus@abababababab,0.25,0.25,10.5,11.5,,,,,,,,,,\n"
        "1.2,ACC2,rejected,TRUNCATED_FILE,hippocampus@abababababab,,,,,,,,,,,,,,\n"
    )


def test_typed_rows_come_back(path: Path) -> None:
    write(path, outcome("1.1", 1 / 3), cases.rejected("1.2"))
    scored, rejected = read_scores(path)
    assert scored.status == "scored"
    assert scored.probabilities == {"atrophy": 1 / 3, "impairment": 1 / 3}
    assert scored.volumes_mm3 == {"anterior hippocampus": 10.5, "posterior hippocampus": 11.5}
    assert (rejected.status, rejected.reason) == ("rejected", "TRUNCATED_FILE")
    assert set(rejected.probabilities.values()) == {None}


FULL_LABELS = LabelSet(
    findings=("atrophy",),
    targets=(
        Target(name="stage", kind=TargetKind.GRADES, classes=("=I", "II")),
        Target(name="age", kind=TargetKind.NUMBER, unit="years"),
    ),
)


def full(uid: str) -> Scored:
    """An answer that has everything."""
    finding = Finding(
        name="atrophy", probability=0.5, spread=0.125, prediction_set=(LabelValue.PRESENT, LabelValue.ABSENT)
    )
    stage = TargetPrediction(
        name="stage", kind=TargetKind.GRADES, classes=("=I", "II"), probabilities=(0.75, 0.25), value=0.25
    )
    said = dataclasses.replace(
        cases.prediction(uid, segments=False),
        findings=(finding,),
        targets=(stage, TargetPrediction(name="age", kind=TargetKind.NUMBER, value=63.25, unit="years")),
        familiarity=Familiarity(distance=3.5, threshold=2.0),
        quality=(QualityFlag(code="FEW_SLICES", detail="12, expected 20"), QualityFlag(code="SPACING", detail="odd")),
        timings={"read": 1.5, "network": 0.25, "elsewhere": 1.0},
    )
    return Scored(prediction=said)


def test_every_kind_of_answer_comes_back(path: Path) -> None:
    with ScoreTable(path, FULL_LABELS, ensemble=True) as scores:
        scores.append(full("1.1"))
        scores.append(cases.rejected("1.2"))
    row, rejected = read_scores(path)
    assert (row.probabilities, row.spreads) == ({"atrophy": 0.5}, {"atrophy": 0.125})
    assert row.prediction_sets == {"atrophy": (LabelValue.PRESENT, LabelValue.ABSENT)}
    assert row.targets == {"stage": "=I", "age": "63.25"}
    assert row.target_probabilities == {"stage": 0.75}
    assert (row.familiarity_distance, row.unfamiliar) == (3.5, True)
    assert row.quality == ("FEW_SLICES", "SPACING")
    assert row.seconds == {"read": 1.5, "preprocess": None, "network": 0.25, "restore": None, "save": None}
    assert "'=I" in path.read_text(), "no formula"
    assert rejected.prediction_sets == {"atrophy": None}
    assert (rejected.unfamiliar, rejected.quality, rejected.targets) == (None, (), {"stage": "", "age": ""})


def test_an_empty_prediction_set_is_not_an_unknown_one(path: Path) -> None:
    finding = Finding(name="atrophy", probability=0.5, prediction_set=())
    said = dataclasses.replace(cases.prediction("1.1", segments=False), findings=(finding,))
    write(path, Scored(prediction=said), labels=LabelSet(findings=("atrophy",)))
    assert read_scores(path)[0].prediction_sets == {"atrophy": ()}


def test_the_parquet_holds_the_same_typed(path: Path) -> None:
    with ScoreTable(path, FULL_LABELS, ensemble=True) as scores:
        scores.append(full("1.1"))
        scores.append(full("1.1"))
        scores.append(cases.rejected("1.2"))
    frame = pl.read_parquet(path.with_suffix(".parquet"))
    header = path.read_text().splitlines()[0].split(",")
    assert frame.columns == header
    assert frame["study_instance_uid"].to_list() == ["1.1", "1.2"]
    assert frame.schema["probability_atrophy"] == pl.Float64
    assert frame["probability_atrophy"].to_list() == [0.5, None]
    assert frame["unfamiliar"].to_list() == [True, None]
    assert frame["target_stage"].to_list() == ["=I", ""]
    assert frame["target_stage_probability"].to_list() == [0.75, None]
    assert frame["quality"].to_list() == ["FEW_SLICES;SPACING", ""]


def test_an_empty_table_has_a_parquet(path: Path) -> None:
    write(path)
    assert pl.read_parquet(path.with_suffix(".parquet")).shape == (0, HEADER.count(",") + 1)


def test_a_table_of_an_older_medfuse_is_read_and_continued(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"{OLDER_HEADER}\n1.1,ACC1,scored,,hippocampus@abababababab,0.25,0.5,10.5,11.5\n")
    (row,) = read_scores(path)
    assert row.probabilities == {"atrophy": 0.25, "impairment": 0.5}
    assert (row.quality, row.prediction_sets, row.unfamiliar) == ((), {}, None)
    write(path, outcome("1.2"))
    assert path.read_text().startswith(HEADER + "\n")
    assert [one.probabilities["impairment"] for one in read_scores(path)] == [0.5, 0.25]


@pytest.mark.parametrize("lost", ["probability_impairment", "volume_mm3_posterior hippocampus", "reason"])
def test_a_table_that_lacks_a_label_is_not_an_older_one(path: Path, lost: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(OLDER_HEADER.replace(f",{lost}", "") + "\n")
    with pytest.raises(UsageError):
        write(path, outcome("1.2"))


def test_a_full_disk_writes_no_parquet_over_the_older_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, outcome("1.1"))
    before = path.with_suffix(".parquet").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(table, "_write_all", fail)
    with pytest.raises(StorageError):
        write(path, outcome("1.2"))
    assert path.with_suffix(".parquet").read_bytes() == before
    assert [row.study_instance_uid for row in read_scores(path)] == ["1.1"]


def test_an_empty_table_has_its_header(path: Path) -> None:
    write(path)
    assert path.read_text() == HEADER + "\n"
    assert read_scores(path) == ()


def test_a_row_is_on_the_disk_before_the_next_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(table.os, "fsync", lambda fd: (synced.append(fd), fsync(fd)))
    with ScoreTable(path, cases.LABELS) as scores:
        for n in range(3):
            before = len(synced)
            scores.append(outcome(f"1.{n}"))
            assert len(synced) == before + 1
            assert len(path.read_text().splitlines()) == n + 2


def test_reopening_appends(path: Path) -> None:
    write(path, outcome("1.1"))
    write(path, outcome("1.2"))
    assert [row.study_instance_uid for row in read_scores(path)] == ["1.1", "1.2"]


def test_a_study_scored_again_replaces_its_row_in_place(path: Path) -> None:
    write(path, outcome("1.1"), outcome("1.2"))
    write(path, outcome("1.1", 0.75), cases.rejected("1.1"), outcome("1.1", 0.5), outcome("1.3"))
    rows = read_scores(path)
    assert [row.study_instance_uid for row in rows] == ["1.1", "1.2", "1.3"]
    assert rows[0].probabilities["atrophy"] == 0.5
    assert len(path.read_text().splitlines()) == 4


def test_before_close_a_reader_already_sees_one_row_a_study(path: Path) -> None:
    with ScoreTable(path, cases.LABELS) as scores:
        scores.append(outcome("1.1"))
        scores.append(outcome("1.1", 0.5))
        assert [row.probabilities["atrophy"] for row in read_scores(path)] == [0.5]


def test_studies_without_a_uid_all_keep_their_row(path: Path) -> None:
    write(path, cases.rejected(""), cases.rejected(""), outcome("1.1"), outcome("1.1"))
    assert [row.study_instance_uid for row in read_scores(path)] == ["", "", "1.1"]


@pytest.mark.parametrize("cut", range(1, 70, 3))
def test_a_torn_last_line_is_dropped_and_its_study_can_be_scored_again(path: Path, cut: int) -> None:
    write(path, outcome("1.1"), outcome("1.2"))
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: len(whole) - min(cut, len(last) - 1)])
    assert [row.study_instance_uid for row in read_scores(path)] == ["1.1"]
    write(path, outcome("1.2"))
    assert path.read_bytes() == whole


def test_a_table_cut_off_in_its_header_begins_again(path: Path) -> None:
    write(path)
    for length in (0, 10, len(HEADER)):
        path.write_text(HEADER[:length])
        write(path, outcome("1.1"))
        assert len(read_scores(path)) == 1


def test_a_last_line_with_too_few_cells_is_torn_too(path: Path) -> None:
    write(path, outcome("1.1"))
    with path.open("a") as file:
        file.write("1.2,ACC\n")
    assert len(read_scores(path)) == 1


def test_a_line_in_the_middle_with_too_few_cells_is_refused(path: Path) -> None:
    write(path, outcome("1.1"))
    path.write_text(f"{HEADER}\n1.2,ACC\n{path.read_text().splitlines()[1]}\n")
    with pytest.raises(UsageError, match="line 2: 2 cells, expected 19"):
        read_scores(path)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (LabelSet(findings=("atrophy",), segments=cases.LABELS.segments), "it has probability_impairment"),
        (LabelSet(findings=(*cases.LABELS.findings, "x"), segments=cases.LABELS.segments), "it lacks probability_x"),
        (LabelSet(findings=cases.LABELS.findings[::-1], segments=cases.LABELS.segments), "in another order"),
    ],
)
def test_a_table_of_another_label_set_is_refused_and_untouched(path: Path, labels: LabelSet, says: str) -> None:
    write(path, outcome("1.1"))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"another label set: .*{says}"):
        ScoreTable(path, labels)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00\n", b"hello\n", b"\n", b'"a\n'])
def test_a_file_that_is_no_score_table_is_refused_and_untouched(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"scores\.csv"):
        ScoreTable(path, cases.LABELS)
    with pytest.raises(UsageError, match=r"scores\.csv"):
        read_scores(path)
    assert path.read_bytes() == content


def test_a_missing_table_is_refused_by_the_reader(path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_scores(path)


@pytest.mark.parametrize(("old", "new"), [(",scored,", ",done,"), (",0.25,", ",high,")])
def test_a_cell_that_cannot_be_is_refused(path: Path, old: str, new: str) -> None:
    write(path, outcome("1.1"))
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UsageError, match=r"study 1\.1 has .*expected"):
        read_scores(path)


@pytest.mark.parametrize("value", ["=1+1", "+41", "-5", "@SUM(A1)", "\t=1", "'=1", "''@x", "\r=2"])
def test_no_cell_is_a_formula_and_the_value_comes_back(path: Path, value: str) -> None:
    write(path, outcome("1.1", accession_number=value))
    with path.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    assert read_scores(path)[0].accession_number == value.replace("\t", " ").replace("\r", " ")


@given(value=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12))
def test_any_printable_text_comes_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.mktemp("table") / "scores.csv"
    write(path, outcome("1.1", accession_number=value), outcome("1.2"))
    assert [row.accession_number for row in read_scores(path)] == [value, "ACC1"]


def test_every_row_is_one_line(path: Path) -> None:
    write(path, outcome("1.1", accession_number="a\nb\r\nc\x00d\u2028e"))
    assert len(path.read_text().splitlines()) == 2
    assert read_scores(path)[0].accession_number == "a b c d e"


@pytest.mark.parametrize("reason", ["Doe, John", "", "truncated", "A B"])
def test_a_reason_that_is_no_code_is_not_written(path: Path, reason: str) -> None:
    write(path, cases.rejected("1.1", reason=reason))
    assert read_scores(path)[0].reason == "STUDY_ERROR"


def test_a_full_disk_leaves_the_table_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = ScoreTable(path, cases.LABELS)
    scores.append(outcome("1.1"))
    before = path.read_bytes()
    written = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "no space")
        return written(descriptor, data[:-10])

    with monkeypatch.context() as patch:
        patch.setattr(table.os, "write", half)
        with pytest.raises(StorageError, match=r"scores\.csv: no space left"):
            scores.append(outcome("1.2"))
    assert path.read_bytes() == before
    scores.append(outcome("1.3"))
    scores.close()
    assert [row.study_instance_uid for row in read_scores(path)] == ["1.1", "1.3"]


def test_a_closed_table_takes_no_rows(path: Path) -> None:
    scores = ScoreTable(path, cases.LABELS)
    scores.close()
    scores.close()
    with pytest.raises(ValueError, match="closed"):
        scores.append(outcome("1.1"))


def test_a_prediction_of_other_findings_is_refused(path: Path) -> None:
    with ScoreTable(path, LabelSet(findings=("atrophy",))) as scores, pytest.raises(ValueError, match="findings"):
        scores.append(outcome("1.1"))


def test_a_study_without_a_segmentation_has_empty_volumes(path: Path) -> None:
    write(path, Scored(prediction=without_volumes(cases.prediction("1.1"))))
    assert set(read_scores(path)[0].volumes_mm3.values()) == {None}


def without_volumes(prediction: Prediction) -> Prediction:
    return dataclasses.replace(prediction, segment_volumes=())


def test_polars_and_pandas_read_it(path: Path) -> None:
    write(path, outcome("1.1"), cases.rejected("1.2"))
    polars = pytest.importorskip("polars")
    frame = polars.read_csv(path, schema_overrides={"study_instance_uid": polars.String})
    assert frame["probability_atrophy"].to_list() == [0.25, None]
    pandas = pytest.importorskip("pandas")
    assert pandas.read_csv(path, dtype={"study_instance_uid": str})["volume_mm3_anterior hippocampus"].count() == 1
