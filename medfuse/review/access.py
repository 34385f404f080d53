"""Who may do what: roles, projects, and the file that names them.

    session_minutes: 30                  # a login without a click for so long ends
    readers_see_each_other: after_sign_off   # or always, never
    blind: false                         # readers decide first and see the model then
    organization: Example Hospital       # what stands in a signed DICOM SR
    projects:
      chest: {studies: chest.csv, double_reading: true, blind: true}
    users:
      ames@example.org: {name: Dr. Ames, role: reader, projects: [chest]}
      lead@example.org: {name: Dr. Lee, role: lead, projects: [chest]}

`studies` is a file beside this one with a Study Instance UID or an accession number a line, or a CSV with a column of
that name (a manifest is one); left out, the project holds every study. An e-mail that is not listed gets in nowhere.
Without such a file there is one local reader, who may do everything: the dashboard then listens on 127.0.0.1 alone.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medfuse.errors import UsageError

_ALL_PROJECTS = "all"
_KEYS = ("study_instance_uid", "accession_number")
_MOST_BYTES = 16 << 20


class AccessError(UsageError):
    """This person may not do or see that; whether it exists is not said."""


class Role(StrEnum):
    """What a person may do: read; see everybody's work too; and everything in every project."""

    READER = "reader"
    LEAD = "lead"
    ADMIN = "admin"


class Sight(StrEnum):
    """When a reader sees what others decided on a study."""

    ALWAYS = "always"
    AFTER_SIGN_OFF = "after_sign_off"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A person at the dashboard; every question to a worklist or a case is asked by one.

    Args:
        name: How the person signs; unique.
        email: What the login says; empty for the local reader.
        role: What the person may do.
        projects: Projects whose studies the person reaches; an admin reaches all.
    """

    name: str
    email: str = ""
    role: Role = Role.READER
    projects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("a reader has a name to sign with")

    @property
    def reaches_everything(self) -> bool:
        """Whether no project bounds what the person sees."""
        return self.role is Role.ADMIN

    @property
    def may_see_agreement(self) -> bool:
        """Whether the person sees how all readers agree."""
        return self.role is not Role.READER

    @property
    def may_take_over(self) -> bool:
        """Whether the person may take a study that another reader has claimed."""
        return self.role is not Role.READER


def local_reader(name: str) -> Reader:
    """The one who works on this machine without a login: an admin of everything."""
    return Reader(name=name, role=Role.ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A set of studies with the readers who may see them.

    Args:
        name: Of the project.
        studies: Study Instance UIDs and accession numbers; None for every study.
        double_reading: Whether several readers read the same study, each on their own; else a claim keeps others off.
        blind: Whether the model's answer is hidden until the reader asks for it.
    """

    name: str
    studies: frozenset[str] | None = None
    double_reading: bool = False
    blind: bool = False

    def holds(self, study_instance_uid: str, accession_number: str) -> bool:
        """Whether a study belongs to it."""
        if self.studies is None:
            return True
        return study_instance_uid in self.studies or (bool(accession_number) and accession_number in self.studies)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Who may, as the users file says; without one, the local reader.

    Args:
        readers: By e-mail in lower case; empty without a users file.
        projects: By name.
        session_minutes: Minutes without a click behind which a login ends.
        sight: When readers see each other's decisions.
        blind: Whether the model's answer is hidden until the reader asks for it, in every project.
        organization: Whose readers they are, for a signed DICOM SR; empty where nobody said.
    """

    readers: Mapping[str, Reader] = field(default_factory=dict)
    projects: Mapping[str, Project] = field(default_factory=dict)
    session_minutes: int = 30
    sight: Sight = Sight.ALWAYS
    blind: bool = False
    organization: str = ""

    @property
    def is_local(self) -> bool:
        """Whether there is no login: one reader on this machine."""
        return not self.readers

    def reader(self, email: str) -> Reader:
        """Who logged in.

        Raises:
            AccessError: The e-mail is not listed, or there is no users file.
        """
        reader = self.readers.get(email.strip().casefold())
        if reader is None:
            raise AccessError("this account may not review here; ask whoever keeps the users file")
        return reader

    def projects_of(self, study_instance_uid: str, accession_number: str) -> tuple[str, ...]:
        """The projects that a study belongs to."""
        return tuple(name for name, p in self.projects.items() if p.holds(study_instance_uid, accession_number))


class _UserEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", max_length=200)
    role: Role = Role.READER
    projects: list[str] = Field(default_factory=list)


class _ProjectEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    studies: str = ""
    double_reading: bool = False
    blind: bool = False


class _UsersFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    session_minutes: int = Field(default=30, ge=1, le=24 * 60)
    readers_see_each_other: Sight = Sight.AFTER_SIGN_OFF
    blind: bool = False
    organization: str = Field(default="", max_length=64)
    projects: dict[str, _ProjectEntry] = Field(default_factory=dict)
    users: dict[str, _UserEntry] = Field(min_length=1)


def read_policy(path: Path | None, *, blind: bool = False) -> AccessPolicy:
    """Read a users file.

    Args:
        path: The file; None for the local reader.
        blind: Whether readers decide first everywhere, whatever the file says.

    Raises:
        UsageError: The file cannot be read, a key is unknown, a user's project is not listed, or two sign alike.
    """
    if path is None:
        return AccessPolicy(blind=blind)
    told = _parsed(path)
    entries = told.projects or {_ALL_PROJECTS: _ProjectEntry()}
    projects = {
        name: Project(
            name=name,
            studies=_studies(path.parent / entry.studies) if entry.studies else None,
            double_reading=entry.double_reading,
            blind=entry.blind,
        )
        for name, entry in entries.items()
    }
    readers = {email.strip().casefold(): _reader(path, email, user, told) for email, user in told.users.items()}
    names = [reader.name for reader in readers.values()]
    if len(set(names)) != len(names) or len(readers) != len(told.users):
        raise UsageError(f"{path}: two users have the same e-mail or name; each signs with a name of their own")
    return AccessPolicy(
        readers=readers,
        projects=projects,
        session_minutes=told.session_minutes,
        sight=told.readers_see_each_other,
        blind=blind or told.blind,
        organization=told.organization.strip(),
    )


def _reader(path: Path, email: str, user: _UserEntry, told: _UsersFile) -> Reader:
    known = told.projects or {_ALL_PROJECTS: _ProjectEntry()}
    if unknown := [name for name in user.projects if name not in known]:
        raise UsageError(f"{path}: a user is in project {unknown[0]!r}, known are {', '.join(known)}")
    projects = tuple(user.projects) if told.projects else (_ALL_PROJECTS,)
    return Reader(name=(user.name or email).strip(), email=email.strip(), role=user.role, projects=projects)


def _parsed(path: Path) -> _UsersFile:
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {str(error).splitlines()[0]}") from error
    try:
        return _UsersFile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join("<user>" if "@" in str(part) else str(part) for part in first["loc"])
        raise UsageError(f"{path}: {place or 'the file'}: {first['msg']}") from error


def _studies(path: Path) -> frozenset[str]:
    """The keys that a file of studies lists: a column of a CSV, or a key a line."""
    lines = [line for line in _text(path).splitlines() if line.strip()]
    rows = [[cell.strip().removeprefix("'") for cell in row] for row in csv.reader(lines)]
    columns = [n for n, name in enumerate(rows[0] if rows else []) if name in _KEYS]
    keys = (row[n] for row in (rows[1:] if columns else rows) for n in (columns or [0]) if n < len(row))
    return frozenset(key for key in keys if key)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} has more than {_MOST_BYTES >> 20} MB; it should list users or studies")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; correct the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8") from error
