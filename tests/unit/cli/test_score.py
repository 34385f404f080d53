from pathlib import Path

import pytest

from medfuse.cli.score import is_done
from medfuse.outputs import ScoreRow

WEIGHTS = "abcdef012345" + "0" * 52


def row(model: str, status: str = "scored") -> ScoreRow:
    return ScoreRow(
        study_instance_uid="1.2",
        accession_number="",
        status=status,  # type: ignore[arg-type]
        reason="",
        model=model,
        probabilities={},
        volumes_mm3={},
    )


@pytest.mark.parametrize(
    ("model", "status", "done"),
    [
        ("made@abcdef012345", "scored", True),
        ("made@abcdef012345", "rejected", False),
        ("made@bbbbbbbbbbbb", "scored", False),
        ("made@", "scored", False),
        ("", "scored", False),
    ],
)
def test_only_what_this_model_scored_is_done(tmp_path: Path, model: str, status: str, done: bool) -> None:
    (tmp_path / "1.2").mkdir()
    (tmp_path / "1.2" / "prediction.json").touch()
    assert is_done(row(model, status), WEIGHTS, tmp_path) is done


def test_a_result_whose_files_are_gone_is_not_done(tmp_path: Path) -> None:
    assert not is_done(row("made@abcdef012345"), WEIGHTS, tmp_path)
