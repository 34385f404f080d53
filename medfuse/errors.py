"""Every error that medfuse raises on purpose, under one base to catch.

    MedfuseError
    ├── UsageError                 the caller asked for something impossible (exit code 2)
    │   ├── ConfigError            a config key is unknown, missing or of the wrong kind
    │   ├── ManifestError          a manifest or label file lacks a column or names unknown studies
    │   ├── CheckpointError        a checkpoint is missing, broken or of another label set
    │   └── LabelLeakageError      the text input would hold the answer
    ├── StorageError               the disk is full or the place cannot be written
    ├── ServerError                an image server does not answer, refuses, or breaks the protocol
    └── StudyError                 one study cannot be used; the others go on
        ├── UnreadableFileError    a file is truncated or is not what its name says
        ├── UnreadableSeriesError  a series cannot become a volume
        ├── UnreadableReportError  a report cannot be decoded
        └── MissingInputError      the study has none of the inputs that the model takes

A message is one line: what is wrong, where (a key or a path, never a patient's name), what was found
against what was expected, and what to do. `StudyError.reason` is a stable code for tables and tests.
"""

from typing import ClassVar


class MedfuseError(Exception):
    """Base of every error that medfuse raises on purpose."""


class UsageError(MedfuseError):
    """The command, a config or an input file asks for something that cannot be done."""


class ConfigError(UsageError):
    """A config key is unknown, missing, or holds a value of the wrong kind."""


class ManifestError(UsageError):
    """A manifest or label file lacks a column or does not match the studies."""


class CheckpointError(UsageError):
    """A checkpoint is missing, broken, or does not fit the data."""


class LabelLeakageError(UsageError):
    """The text input includes report sections that state the answer."""


class StorageError(MedfuseError):
    """A result cannot be written: no space, or no permission."""


class ServerError(MedfuseError):
    """An image server does not answer, refuses, or breaks the protocol.

    Args:
        detail: One line for a person: which server, what it did, and what to do.
        passing: Whether the same call may succeed later.
        wait_s: Seconds that the server asked to wait; 0 when it did not say.
    """

    def __init__(self, detail: str, *, passing: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.passing = passing
        self.wait_s = wait_s


class StudyError(MedfuseError):
    """One study cannot be used.

    Args:
        detail: One line for a person: what is wrong, where, and what to do.
        reason: Stable upper-case code, e.g. `TRUNCATED_FILE`; the class's own code when left out.
    """

    default_reason: ClassVar[str] = "STUDY_ERROR"

    def __init__(self, detail: str, *, reason: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason or self.default_reason
        self.detail = detail


class UnreadableFileError(StudyError):
    """A file is truncated or is not what its name says."""

    default_reason = "UNREADABLE_FILE"


class UnreadableSeriesError(StudyError):
    """A series cannot become a volume."""

    default_reason = "UNREADABLE_SERIES"


class UnreadableReportError(StudyError):
    """A report cannot be decoded."""

    default_reason = "UNREADABLE_REPORT"


class MissingInputError(StudyError):
    """The study has none of the inputs that the model takes."""

    default_reason = "MISSING_INPUT"
