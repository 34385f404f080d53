"""`medfuse inspect` from the command line, on made files and on the real studies."""

import json
from pathlib import Path
from typing import Any

import pytest

from medfuse.cli.main import main
from medfuse.cli.study_tables import PIPED_WIDTH, visible
from tests.unit.ingest.made_dicom import ramp, uid, write_series

BRAIN = ("AX T1", "AX T1 POST", "AX FLAIR", "AX T2", "LOCALIZER T1")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def said(capfd: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert run("inspect", *arguments) == code
    return capfd.readouterr().out


@pytest.fixture
def study(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    for number, description in enumerate(BRAIN, start=1):
        write_series(
            root / str(number),
            ramp((6, 5, 4)),
            Modality="MR",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
            SeriesInstanceUID=uid(f"series {number}"),
            SeriesNumber=number,
            SeriesDescription=description,
        )
    (root / "report.txt").write_text("HISTORY: a planted sentence.\nFINDINGS: none.\n")
    return root


def test_it_shows_series_reports_and_the_choice_of_each_channel(
    study: Path, capfd: pytest.CaptureFixture[str], checkout: Path
) -> None:
    out = said(capfd, study, "--config", checkout / "configs" / "train" / "phantom_brain_mr.yaml")
    for description in BRAIN:
        assert description in out
    assert "HISTORY (19), FINDINGS (5)" in out
    assert "planted" not in out
    assert [line for line in out.splitlines() if line.startswith("channel ")] == [
        "channel t1: #1 AX T1",
        "channel t1ce: #2 AX T1 POST",
        "channel flair: #3 AX FLAIR",
        "channel t2: #4 AX T2",
    ]
    assert "  not #2 AX T1 POST: must_not: contrast with: the description says 'POST'" in out.splitlines()
    assert "PATIENT-7" not in out
    assert max(map(len, out.splitlines())) <= PIPED_WIDTH


def test_without_a_config_the_presets_that_fit_are_shown(study: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = said(capfd, study)
    names = [line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("channel ")]
    assert names == ["t1", "t1ce", "t2", "flair"]


def test_json_says_everything_and_no_identity(study: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = said(capfd, study, "--json")
    (one,) = json.loads(out)["studies"]
    assert [series["description"] for series in one["series"]] == list(BRAIN)
    assert one["series"][0]["slices"] == 4
    assert one["reports"] == [[{"section": "HISTORY", "characters": 19}, {"section": "FINDINGS", "characters": 5}]]
    t1 = one["channels"][0]
    assert (t1["channel"], t1["chosen"]) == ("t1", uid("series 1"))
    assert [len(channel["candidates"]) for channel in one["channels"]] == [5, 5, 5, 5]
    assert "planted" not in out
    assert "PATIENT-7" not in out
    assert {"patient_key", "accession_number"} & set(keys_of(json.loads(out))) == set()


def keys_of(document: Any) -> list[str]:
    if isinstance(document, dict):
        return [*document, *(key for value in document.values() for key in keys_of(value))]
    return [key for value in document for key in keys_of(value)] if isinstance(document, list) else []


def test_runners_up_are_shown_with_their_points(study: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "name: x\nlabels: {findings: [a]}\nrecipe:\n  spacing_mm: [1, 1, 1]\n  size: [8, 8, 8]\n  channels:\n"
        "    - name: any\n      prefer:\n        flair: {points: 2.5, when: {description: flair}}\n"
    )
    lines = said(capfd, study, "--config", config).splitlines()
    start = lines.index("channel any: #3 AX FLAIR")
    assert lines[start + 1] == "  2.5 points (flair +2.5); 2.5 points before the next of 5 that may fill it"
    assert lines[start + 2 : start + 4] == [
        "  2. #1 AX T1: 0 points: none of the preferences",
        "  3. #2 AX T1 POST: 0 points: none of the preferences",
    ]
    assert lines[start + 5] == "  and 1 more that may fill it"


def test_text_of_headers_is_no_markup_and_no_control_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, SeriesDescription="[red]T1[/red] [/] <b>")
    out = said(capfd, tmp_path)
    assert "[red]T1[/red] [/] <b>" in out
    assert visible("a\x1b[31mb\nc\u202e").plain == "a?[31mb c?"
    assert visible("x" * 100, 10).plain == "xxxxxxx..."


def test_several_studies_come_one_after_another_and_one_can_be_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / name, StudyInstanceUID=uid(f"study {name}"), SeriesInstanceUID=uid(name))
    out = said(capfd, tmp_path)
    assert [line for line in out.splitlines() if line.startswith("Study ")] == [
        f"Study {uid('study a')}",
        f"Study {uid('study b')}",
    ]
    named = said(capfd, tmp_path, "--study", uid("study b"))
    assert uid("study a") not in named
    assert uid("study b") in named


def test_what_was_left_out_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "a")
    (tmp_path / "a" / "fake.dcm").write_text("text" * 50)
    (tmp_path / "a" / "notes.xml").write_text("<a/>" * 50)
    out = said(capfd, tmp_path)
    assert "NOT_DICOM: 1 file: a/fake.dcm" in out or "NOT_DICOM: 1 file: fake.dcm" in out
    assert "OTHER_FILE: 1" in out


def test_studies_that_cannot_be_used_are_exit_code_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "a", PatientID="ONE")
    write_series(tmp_path / "b", PatientID="TWO", SeriesInstanceUID=uid("b"))
    assert "MIXED_PATIENTS" in said(capfd, tmp_path, code=1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["missing"], "does not exist"),
        (["in", "--study", "1.2.3"], "--study 1.2.3 is none of the 1 studies"),
        (["in", "--config", "missing.yaml"], "no such file"),
        (["in", "--config", "in"], "holds no checkpoint"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    write_series(tmp_path / "in")
    given = [word if word.startswith(("-", "1")) else tmp_path / word for word in options]
    assert run("inspect", *given) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    assert says in line


@pytest.mark.realdata
def test_a_real_study_fills_the_four_channels(
    shared_data: Path, capfd: pytest.CaptureFixture[str], checkout: Path
) -> None:
    out = said(
        capfd,
        shared_data / "brain-mr-dicom",
        "--config",
        checkout / "configs" / "train" / "phantom_brain_mr.yaml",
        "--json",
    )
    (one,) = json.loads(out)["studies"]
    names = {series["key"]: series["description"] for series in one["series"]}
    assert {channel["channel"]: names[channel["chosen"]] for channel in one["channels"]} == {
        "t1": "T1pre_reg",
        "t1ce": "T1post",
        "flair": "FLAIR_reg",
        "t2": "T2_reg",
    }


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "preset"), [("ct-dicom", "ct_soft"), ("lidc-dicom", "ct_lung")])
def test_a_real_ct_fits_the_ct_presets(
    shared_data: Path, capfd: pytest.CaptureFixture[str], folder: str, preset: str
) -> None:
    out = said(capfd, shared_data / folder)
    assert f"channel {preset}: " in out
    assert "channel t1" not in out


def test_a_nifti_study_is_named_by_its_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import nibabel
    import numpy as np

    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), np.eye(4)), tmp_path / "scan_7.nii.gz")
    assert "(scan_7.nii.gz)" in said(capfd, tmp_path)
    (one,) = json.loads(said(capfd, tmp_path, "--json"))["studies"]
    assert (one["series"][0]["nifti_file"], one["series"][0]["slices"]) == ("scan_7.nii.gz", 7)
