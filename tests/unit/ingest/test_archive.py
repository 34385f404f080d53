"""Questions to an archive are checked before they go, answers before they are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from medfuse.errors import ServerError, UsageError
from medfuse.ingest.network.archive import Query, instance_record, is_uid, matches, retrying, study_record
from medfuse.ingest.network.servers import DimseServer


def answer(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("query", "values", "fits"),
    [
        (Query(patient_id="A"), {"PatientID": "A"}, True),
        (Query(patient_id="A"), {"PatientID": "AB"}, False),
        (Query(patient_id="A*"), {"PatientID": "AB"}, True),
        (Query(patient_id="[A]"), {"PatientID": "[A]"}, True),
        (Query(patient_id="[A]"), {"PatientID": "A"}, False),
        (Query(patient_id="A"), {}, True),
        (Query(modality="MR"), {"ModalitiesInStudy": ["CT", "MR"]}, True),
        (Query(modality="MR"), {"ModalitiesInStudy": ["CT"]}, False),
        (Query(study_date="20240101-20240131"), {"StudyDate": "20240131"}, True),
        (Query(study_date="20240101-20240131"), {"StudyDate": "20240201"}, False),
        (Query(study_date="-20240131"), {"StudyDate": "19991231"}, True),
        (Query(study_date="20240101-"), {"StudyDate": "20231231"}, False),
        (Query(study_date="20240101"), {"StudyDate": "20240102"}, False),
        (Query(description="*head*"), {"StudyDescription": "MR HEAD 3T"}, True),
        (Query(study_instance_uid="1.2"), {"StudyInstanceUID": "1.20"}, False),
    ],
)
def test_an_answer_fits_the_question_or_not(query: Query, values: dict[str, object], fits: bool) -> None:
    assert matches(answer(**values), query) is fits


@pytest.mark.parametrize("date", ["2024", "20240101-20240131-", "2024-01-01", "yesterday", "-"])
def test_a_date_that_is_none_is_refused(date: str) -> None:
    with pytest.raises(UsageError):
        Query(study_date=date)


@given(st.text())
def test_what_passes_for_a_uid_can_name_a_file_and_nothing_else(text: str) -> None:
    assert not is_uid(text) or set(text) <= set("0123456789.")
    assert not is_uid(f"{text}/1.2")
    assert not is_uid(f"1.2\n{text}")


@pytest.mark.parametrize("uid", ["", ".", "..", "1..2", ".1", "1.", "1" * 65, "1.2\n", "\u0661.2"])
def test_what_only_looks_like_a_uid_is_none(uid: str) -> None:
    assert not is_uid(uid)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_answers_without_a_uid_are_no_records() -> None:
    assert study_record(answer(StudyInstanceUID="../x")) is None
    assert study_record(answer(StudyInstanceUID="1.2", NumberOfStudyRelatedInstances=None)) is not None
    assert instance_record(answer(SOPInstanceUID="1.2.3")) is None
    assert instance_record(answer(SOPInstanceUID="1.2.3"), "1.2") is not None
    assert instance_record(answer(SOPInstanceUID="1/2"), "1.2") is None


def test_pauses_double_up_to_a_minute_and_what_passes_is_raised_in_the_end() -> None:
    server = DimseServer(host="h", port=104, ae_title="P", retries=8, backoff_s=1)
    pauses: list[float] = []
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise ServerError("busy", passing=True)

    with pytest.raises(ServerError, match="busy"):
        retrying(server, pauses.append)(fail)
    assert len(tries) == 9
    assert all(pause <= min(2**number, 60) for number, pause in enumerate(pauses, start=0))
    assert len(pauses) == 8
