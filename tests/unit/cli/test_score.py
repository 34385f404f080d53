"""What the words behind `medfuse score` mean."""

from pathlib import Path

import pytest

from medfuse.cli.score import check_checkpoint, query_of
from medfuse.errors import UsageError


def test_a_query_is_asked_in_the_words_of_qido() -> None:
    query, limit = query_of("StudyDate=20240101-20240131&ModalitiesInStudy=CT&StudyDescription=CT%20Thorax*&limit=5")
    assert query.filters() == {
        "ModalitiesInStudy": "CT",
        "StudyDate": "20240101-20240131",
        "StudyDescription": "CT Thorax*",
    }
    assert limit == 5


@pytest.mark.parametrize("text", ["", "limit=3", "limit=none&StudyDate=20240101", "Rows=3", "StudyDate=yesterday"])
def test_a_query_that_cannot_be_asked_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        query_of(text)


@pytest.mark.parametrize("place", ["checkpoint.json", "best/checkpoint.json", "last/checkpoint.json", "folds.json"])
def test_a_folder_with_a_checkpoint_passes(tmp_path: Path, place: str) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        check_checkpoint(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    check_checkpoint(tmp_path)
