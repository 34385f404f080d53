"""A study explained through the predictor, and the folder that it is written to."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medfuse.data.samples import Case
from medfuse.domain import Affine, Modality, Report, ReportSection, SectionName, Series, Study, VolumeGeometry
from medfuse.errors import UsageError
from medfuse.explain import explain_prepared, write_explanation
from medfuse.explain.explanation import study_contributions
from medfuse.explain.reading import IMAGE, TEXT, Reading, with_only
from medfuse.explain.words import MOST_UNITS, text_of, units_of
from medfuse.explain.write import map_name
from medfuse.inference import Predictor
from medfuse.inference.member import Member
from medfuse.preprocess import PreparedStudy

MakeCase = Callable[..., Case]


@pytest.fixture
def prepared(make_explained: MakeCase, tmp_path: Path) -> PreparedStudy:
    case = make_explained(1000, bright=True, smokes=True)
    text = f"HISTORY: {case.text}\nFINDINGS: a bright block\n"
    cut = text.index("FINDINGS")
    sections = (
        ReportSection(name=SectionName.HISTORY, start=0, end=cut, body_start=9),
        ReportSection(name=SectionName.FINDINGS, start=cut, end=len(text), body_start=cut + 10),
    )
    series = Series(series_instance_uid="1.2.3", modality=Modality.CT, files=(tmp_path / "a.nii",))
    study = Study(
        study_instance_uid="1.2",
        patient_key="p",
        path=tmp_path,
        series=(series,),
        reports=(Report(text=text, sections=sections),),
    )
    grid = VolumeGeometry(shape=case.image.shape[1:], affine=Affine(np.eye(4)))
    fine = Affine.from_parts(origin_mm=(-0.25, -0.25, -0.25), direction=np.eye(3), spacing_mm=(0.5, 0.5, 0.5))
    return PreparedStudy(
        study=study,
        image=case.image,
        grid=grid,
        source_grid=VolumeGeometry(shape=(32, 32, 32), affine=fine),
        series={"ct": series},
        text=case.text,
    )


def test_a_study_is_explained_and_written(taught: Member, prepared: PreparedStudy, tmp_path: Path) -> None:
    explanation = explain_prepared(Predictor([taught]), prepared, methods=("gradient", "attention"))
    written = write_explanation(explanation, prepared.study, tmp_path / "out")
    told = json.loads(written.read_text(encoding="utf-8"))
    assert [finding["name"] for finding in told["findings"]] == ["bright", "smoker"]
    assert (told["sections_read"], told["sections_not_read"]) == (["HISTORY"], ["FINDINGS"])
    smoker = told["findings"][1]
    assert max(smoker["words"], key=lambda word: word["weight"])["word"] == "tobacco"
    added = smoker["log_odds"] - smoker["log_odds_without_inputs"]
    assert sum(smoker["contributions"].values()) == pytest.approx(added)
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"explanation.json", *(name for one in told["findings"] for name in one["maps"].values())}
    image = nib.load(tmp_path / "out" / told["findings"][0]["maps"]["gradient"])
    assert image.shape == (32, 32, 32)
    assert np.allclose(image.affine, prepared.source_grid.affine.to_ras())
    peak = np.unravel_index(np.abs(image.get_fdata()).argmax(), image.shape)
    assert all(low <= at < high for at, low, high in zip(peak, (16, 4, 16), (28, 16, 28), strict=True))


def test_findings_carry_their_contributions(taught: Member, prepared: PreparedStudy) -> None:
    explanation = explain_prepared(Predictor([taught]), prepared, findings=["smoker"], methods=())
    (one,) = explanation.findings
    assert one.maps == {}
    carried = {finding.name: finding.contributions for finding in explanation.scored.prediction.findings}
    assert carried["smoker"] == one.contributions
    assert set(carried["bright"]) == {"ct", "text"}


def test_what_is_kept_from_the_model_is_no_input(taught: Member, prepared: PreparedStudy) -> None:
    explanation = explain_prepared(Predictor([taught], without=["text"]), prepared, methods=())
    assert set(explanation.findings[0].contributions) == {"ct"}
    assert explanation.findings[0].words == ()


def test_an_unknown_finding_or_map_is_refused(taught: Member, prepared: PreparedStudy) -> None:
    predictor = Predictor([taught])
    with pytest.raises(UsageError, match="no finding nodule; it has: bright, smoker"):
        explain_prepared(predictor, prepared, findings=["nodule"])
    with pytest.raises(UsageError, match="no map by magic"):
        explain_prepared(predictor, prepared, methods=("magic",))  # type: ignore[arg-type]


def test_many_channels_count_as_one_input(
    taught: Member, make_explained: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medfuse.explain.explanation.MOST_INPUTS", 1)
    case = make_explained(1)
    assert set(study_contributions([Reading.whole(taught, case)], case).of_inputs) == {IMAGE, TEXT}


def test_an_input_that_is_left_out_is_missing(make_explained: MakeCase) -> None:
    case: Case = make_explained(1)
    assert with_only(case, {"ct"}, ["ct"]).text == ""
    assert with_only(case, {"ct"}, ["ct"]).image is case.image
    without = with_only(case, {TEXT}, ["ct"])
    assert not without.channel_present.any()
    assert not without.image.any()
    assert without.text == case.text


def test_words_come_apart_and_together_again() -> None:
    text = "65 year old man.\nNo fever."
    spans = units_of(text)
    assert [text[start:end] for start, end in spans] == ["65", "year", "old", "man.", "No", "fever."]
    assert text_of(text, spans, range(6)) == text
    assert text_of(text, spans, [0, 3, 4]) == "65 man.\nNo"
    assert text_of(text, spans, []) == ""
    long = units_of("word " * 1000)
    assert len(long) <= MOST_UNITS
    assert long[-1][1] == 4999


def test_the_name_of_a_finding_is_data(taught: Member) -> None:
    assert map_name(3, "../../etc/passwd; rm", "gradient") == "03-etc-passwd-rm-gradient.nii.gz"
    assert map_name(0, "肺炎", "attention") == "00-attention.nii.gz"


def test_a_window_that_does_not_decide_has_no_part_in_the_map(taught: Member, make_explained: MakeCase) -> None:
    from medfuse.explain.maps import voxel_weights

    case = make_explained(1000, bright=True)
    wide = replace(case, image=np.concatenate([case.image, np.zeros((1, 40, 16, 16), dtype=np.float32)], axis=1))
    reading = Reading.whole(taught, wide)
    assert len(reading.starts) > 3
    weights = voxel_weights([reading], wide, "gradient")[0]
    short, decides = reading.decisive(wide)
    start = short.starts[decides[0]][0]
    assert weights.shape == wide.image.shape[1:]
    assert not weights[start + 16 :].any()
    assert weights[start : start + 16].any()
    assert torch.is_grad_enabled()
