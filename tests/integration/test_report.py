"""`medfuse report` from files to page, JSON and standards, with pictures of failures."""

import base64
import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medfuse.cli.main import main
from medfuse.domain import LabelValue
from medfuse.evaluation import write_evaluation
from medfuse.ingest import find_studies
from medfuse.ingest.manifest import row_of, write_manifest
from medfuse.outputs.colours import rgb_of
from tests.report_parts import make_evaluation, write_run

CASES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("reported"))


def make_folder(tmp_path: Path) -> Path:
    """A small Decathlon set, its manifest, a run whose test split it is, and the run's evaluation."""
    data = tmp_path / "data"
    for name in ("imagesTr", "labelsTr"):
        (data / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    pairs = []
    for n in range(CASES):
        image = random.normal(100, 10, size=(20, 16, 6)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[4:10, 3:8, 2:5], label[4:10, 8:12, 1:3] = 1, 2
        label[3, 3, 4] = 1  # slice 4 has most of the anterior segment
        nibabel.save(nibabel.Nifti1Image(image, np.diag([1.0, 1.0, 2.0, 1.0])), data / f"imagesTr/c{n}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, np.diag([1.0, 1.0, 2.0, 1.0])), data / f"labelsTr/c{n}.nii.gz")
        pairs.append({"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"})
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    table = {"name": "small", "modality": {"0": "MRI"}, "labels": labels, "training": pairs, "test": []}
    (data / "dataset.json").write_text(json.dumps(table))
    rows = [row_of(study, data, {"large": LabelValue.PRESENT}) for study in find_studies(data).studies]
    write_manifest(tmp_path / "manifest.csv", rows)
    uids = [row.study_instance_uid for row in rows]
    write_run(tmp_path / "run", uids)
    digest = hashlib.sha256((tmp_path / "manifest.csv").read_bytes()).hexdigest()
    write_evaluation(replace(make_evaluation(uids), manifest_sha256=digest), tmp_path / "evaluation.json")
    return tmp_path


def report(folder: Path, output: str, *options: str, evaluation: bool = True) -> int:
    given = ["--evaluation", str(folder / "evaluation.json")] if evaluation else []
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder / "run"), "--output", str(folder / output), *given, *options])
    return int(ended.value.code or 0)


def test_the_page_and_the_same_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = ["--manifest", str(folder / "manifest.csv")]
    assert report(folder, "out/report.html", *manifest) == 0
    assert "written:" in capsys.readouterr().out
    assert report(folder, "out/report.json", *manifest) == 0
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    told = json.loads((folder / "out/report.json").read_bytes())
    assert told["title"] == "small: test split"
    assert told["title"] in page
    assert str(folder) not in page
    assert str(folder) not in json.dumps(told)
    (failures,) = [one["failures"] for one in told["sections"] if one["title"] == "Failures"]
    pictured = [one for one in failures if one["picture"]]
    assert len({one["study_instance_uid"] for one in pictured}) == len({one["study_instance_uid"] for one in failures})
    for one in pictured:
        assert one["picture"] in page


def test_a_picture_shows_the_reference(folder: Path) -> None:
    assert report(folder, "report.json", "--manifest", str(folder / "manifest.csv")) == 0
    told = json.loads((folder / "report.json").read_bytes())
    (failures,) = [one["failures"] for one in told["sections"] if one["title"] == "Failures"]
    (low, *_) = [one for one in failures if one["kind"] == "low Dice"]
    assert low["caption"] == "Slice 5 of 6 of the source grid; outlined: the reference of anterior"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(low["picture"]))))
    assert pixels.shape == (205, 256, 3)  # 16 x 20 mm, the longer side at 256
    outline = (pixels == rgb_of(1)).all(axis=2)
    rows, columns = np.nonzero(outline)
    scale = 256 / 20
    assert (columns.min() / scale, columns.max() / scale) == (pytest.approx(3, abs=0.2), pytest.approx(10, abs=0.2))
    assert (rows.min() / scale, rows.max() / scale) == (pytest.approx(3, abs=0.2), pytest.approx(8, abs=0.2))
    assert not (pixels == rgb_of(2)).all(axis=2).any()  # the posterior segment is not in that slice


def test_fewer_pictures_and_a_study_that_is_gone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "data/imagesTr/c5.nii.gz").unlink()
    assert report(folder, "report.json", "--manifest", str(folder / "manifest.csv"), "--pictures", "2") == 0
    told = json.loads((folder / "report.json").read_bytes())
    (failures,) = [one["failures"] for one in told["sections"] if one["title"] == "Failures"]
    assert 1 <= len({one["study_instance_uid"] for one in failures if one["picture"]}) <= 2
    assert str(folder) not in json.dumps(told)


@pytest.mark.parametrize("standard", ["claim", "tripod-ai", "model-card"])
def test_standards(folder: Path, standard: str) -> None:
    assert report(folder, "standard.md", "--standard", standard, "--manifest", str(folder / "manifest.csv")) == 0
    text = (folder / "standard.md").read_text(encoding="utf-8")
    assert "To write by a person" in text
    assert "large PRESENT in" in text
    assert report(folder, "bare.md", "--standard", standard, evaluation=False) == 0
    assert str(folder) not in text


@pytest.mark.parametrize(
    ("output", "options", "evaluation", "said"),
    [
        ("report.pdf", [], True, "is written as .html or .htm or .json"),
        ("report.html", ["--standard", "claim"], True, "--standard claim is written as .md or .markdown"),
        ("report.html", [], False, "--evaluation is missing"),
        ("report.md", ["--standard", "stard"], True, "stard"),
        ("data", [], True, "is written as"),
    ],
)
def test_wrong_use(
    tmp_path: Path,
    output: str,
    options: list[str],
    evaluation: bool,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report(tmp_path, output, *options, evaluation=evaluation) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_another_manifest_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text((folder / "manifest.csv").read_text().replace("PRESENT", "ABSENT"))
    assert report(folder, "refused.html", "--manifest", str(manifest)) == 2
    assert "is not the manifest that was measured" in capsys.readouterr().err
    assert not (folder / "refused.html").exists()


@pytest.mark.browser
def test_a_browser_shows_it_and_asks_for_nothing(folder: Path) -> None:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    assert report(folder, "shown.html", "--manifest", str(folder / "manifest.csv")) == 0
    asked: list[str] = []
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"], timeout=60_000
        )
        page = browser.new_page(viewport={"width": 420, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto((folder / "shown.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        broken = page.evaluate("[...document.images].filter(image => image.naturalWidth == 0).length")
        pictures = page.evaluate("document.images.length")
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [(folder / "shown.html").as_uri()]
    assert said == []  # e.g. that the page's own policy refused something
    assert wide == 420  # a phone scrolls tables, not the page
    assert pictures > broken == 0
