"""The files that a scored study becomes, by name: what `--outputs` may ask for.

    @OUTPUTS.register("nifti")
    class NiftiOutput:
        files = ("segmentation.nii.gz",)
        def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]: ...

An output writes into a folder that nobody sees before every output is done, and returns the names of what it wrote:
none where the study has nothing of the kind. Where it should have written and cannot, it raises `StudyError`, and
`prediction.json` says what was left out and why.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from medfuse.errors import UsageError
from medfuse.outputs.result import StudyResult
from medfuse.registry import Registry


class Output(Protocol):
    """One kind of file.

    Attributes:
        files: How messages call what it writes.
    """

    files: str

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write into `folder`; returns the names of the files.

        Raises:
            StudyError: The study cannot have it.
            OSError: It could not be written.
        """


OUTPUTS: Registry[Output] = Registry("output")

PREDICTION = "json"
"""`prediction.json` is always written: it is the record that every other file belongs to."""

DEFAULT_OUTPUTS = (PREDICTION, "nifti", "dicom_seg", "dicom_sr")


def chosen_outputs(names: Iterable[str] | None) -> tuple[str, ...]:
    """The outputs that are asked for, each once, in the order in which they are written.

    Args:
        names: Names of outputs; None for the usual ones.

    Raises:
        UsageError: A name is unknown.
    """
    wanted = set(DEFAULT_OUTPUTS if names is None else names)
    known = (PREDICTION, *(name for name in OUTPUTS.names()))
    if unknown := sorted(wanted.difference(known)):
        raise UsageError(f"unknown output {unknown[0]!r}; known: {', '.join(known)}")
    first = [name for name in DEFAULT_OUTPUTS if name in wanted and name != PREDICTION]
    return (PREDICTION, *first, *sorted(wanted.difference(DEFAULT_OUTPUTS)))
