"""UIDs for what has none: NIfTI files, and DICOM files whose UIDs were blanked.

They have the form `2.25.<decimal UUID>` (PS3.5 section B.2), so that DICOM objects may refer to them, and are made
by hashing, so that the same input has the same UID in every run.
"""

import uuid
from pathlib import Path


def made_uid(*parts: str) -> str:
    """The UID of a list of strings."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(('medfuse', *parts))).int}"


def path_uid(path: Path, *parts: str) -> str:
    """The UID of a place on disk (its absolute path with links resolved), and of a part of it, e.g. a channel."""
    return made_uid("path", path.resolve().as_posix(), *parts)
