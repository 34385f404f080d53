"""Pseudonyms from a secret key, and its file."""

import pickle
import re
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from medfuse.errors import UsageError
from medfuse.ingest.deidentify.secret import Secret, create_key_file, read_key_file

KEY = bytes(range(32))


@given(st.from_regex(r"[0-2](\.[1-9][0-9]{0,6}){1,8}", fullmatch=True))
def test_uids_are_valid_and_depend_on_key_and_value(uid: str) -> None:
    made = Secret(KEY).uid(uid)
    assert UID(made).is_valid
    assert made == Secret(KEY).uid(f" {uid}\0")
    assert made != Secret(KEY[::-1]).uid(uid)
    assert made != Secret(KEY).uid(f"{uid}.1")
    parsed = uuid.UUID(int=int(made.removeprefix("2.25.")))
    assert (parsed.version, parsed.variant) == (8, uuid.RFC_4122)


def test_uids_of_the_standard_stay() -> None:
    assert Secret(KEY).uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert Secret(KEY).uid("") == ""
    assert Secret(KEY).uid("1.2.840.10008.ZEBULON").startswith("2.25.")
    assert Secret(KEY).uid("1.2.840.100081").startswith("2.25.")


def test_patients_and_shifts() -> None:
    secret = Secret(KEY)
    assert re.fullmatch("P[0-9a-f]{16}", secret.patient("7"))
    assert secret.patient(" 7 ") == secret.patient("7") != secret.patient("8")
    shifts = {secret.day_shift(str(n)).days for n in range(200)}
    assert len(shifts) > 150
    assert all(-3650 <= days <= -30 for days in shifts)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(KEY)
    for text in (repr(secret), str(secret), f"{secret}", secret.fingerprint):
        assert KEY.hex() not in text
    assert secret.fingerprint != Secret(KEY[::-1]).fingerprint
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_key_file_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = create_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path).fingerprint == made.fingerprint
    with pytest.raises(UsageError, match="exists"):
        create_key_file(path)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_key_file(path)


@pytest.mark.parametrize("content", ["", "00ff", "zz" * 32, "é" * 64])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="holds no key") as caught:
        read_key_file(path)
    assert not content or content not in str(caught.value)


def test_a_missing_key_file_and_a_short_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--new-key"):
        read_key_file(tmp_path / "none")
    with pytest.raises(UsageError, match="too short"):
        Secret(b"short")
