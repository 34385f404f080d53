"""The users file: who is who, which studies a project holds, and one clear line for what is wrong in it."""

from pathlib import Path

import pytest

from medfuse.errors import UsageError
from medfuse.review import AccessError, Role, Sight, local_reader, read_policy
from tests.unit.review.rooms import write_users

WHOLE = """
session_minutes: 12
readers_see_each_other: never
blind: true
organization: Example Hospital
projects:
  chest: {studies: chest.csv, double_reading: true, blind: true}
  all: {}
users:
  Ames@Example.org: {name: Dr. Ames, role: lead, projects: [chest]}
  bell@example.org: {projects: [all]}
"""


def test_without_a_file_there_is_one_local_reader() -> None:
    policy = read_policy(None)
    assert (policy.is_local, policy.projects, policy.sight) == (True, {}, Sight.ALWAYS)
    assert local_reader("Dr. Ames").role is Role.ADMIN
    with pytest.raises(AccessError, match="may not review here"):
        policy.reader("anybody@example.org")
    with pytest.raises(UsageError, match="a name to sign with"):
        local_reader("  ")


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "chest.csv").write_text("path,accession_number,study_instance_uid\nx,A1,1.2.1\ny,,1.2.2\n")
    policy = read_policy(write_users(tmp_path, WHOLE))
    ames = policy.reader(" ames@EXAMPLE.org ")
    assert (ames.name, ames.role, ames.projects) == ("Dr. Ames", Role.LEAD, ("chest",))
    assert policy.reader("bell@example.org").name == "bell@example.org"
    assert (policy.session_minutes, policy.sight, policy.blind, policy.is_local) == (12, Sight.NEVER, True, False)
    assert policy.organization == "Example Hospital"
    chest = policy.projects["chest"]
    assert (chest.studies, chest.double_reading, chest.blind) == (frozenset({"A1", "1.2.1", "1.2.2"}), True, True)
    assert policy.projects_of("1.2.2", "") == ("chest", "all")
    assert policy.projects_of("9", "") == ("all",)


def test_a_project_may_list_a_key_a_line_and_no_empty_key_counts(tmp_path: Path) -> None:
    (tmp_path / "chest.csv").write_text("1.2.1\n\n '\n'=A7\n")
    chest = read_policy(write_users(tmp_path, WHOLE)).projects["chest"]
    assert chest.holds("1.2.1", "")
    assert chest.holds("5", "=A7")
    assert not chest.holds("5", "")


def test_without_projects_every_user_reaches_every_study(tmp_path: Path) -> None:
    policy = read_policy(write_users(tmp_path, "users:\n  a@b.c: {}\n"))
    assert policy.projects_of("1", "") == policy.reader("a@b.c").projects


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("users: {}", "users"),
        ("[1]", "the file"),
        ("users: {a@b.c: {roles: reader}}", "users.<user>.roles"),
        ("users: {a@b.c: {role: owner}}", "users.<user>.role"),
        ("users: {a@b.c: {}}\nsession_minutes: 0", "session_minutes"),
        ("users: {a@b.c: {projects: [x]}}", "a user is in project 'x', known are all"),
        ("users: {a@b.c: {name: A}, b@b.c: {name: A}}", "the same e-mail or name"),
        ("users: {a@b.c: {}, A@b.c: {name: other}}", "the same e-mail or name"),
        ("users: {a@b.c: {}}\nprojects: {x: {studies: gone.csv}}", "cannot read"),
        ("users: [", "is no YAML"),
        ("users: !!python/object/apply:os.system [ls]", "is no YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_an_e_mail(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_policy(write_users(tmp_path, text))
    said = str(refused.value)
    assert expected in said
    assert "\n" not in said
    assert "a@b.c" not in said


def test_a_missing_or_odd_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_policy(tmp_path / "absent.yaml")
    (tmp_path / "users.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_policy(tmp_path / "users.yaml")
