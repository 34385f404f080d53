"""`medfuse convert`: every image series as NIfTI, to look at what medfuse sees."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuse.errors import StorageError, StudyError, UsageError

if TYPE_CHECKING:
    from medfuse.domain import Series, Volume


def convert(
    path: Annotated[Path, typer.Argument(help="Folder with DICOM or NIfTI files, of any names and nesting.")],
    output: Annotated[Path, typer.Option("--output", help="Folder to write to; made when missing.")],
) -> None:
    """Write each image series as `<SeriesNumber>_<SeriesInstanceUID>.nii.gz`.

    CT is in Hounsfield units. Voxels that are all whole numbers are stored as 16-bit integers, others as 32-bit
    floats. A series that cannot become a volume gives one line with its reason and exit code 1.

    Raises:
        UsageError: `path` holds no images, or `output` is a file.
        StorageError: `output` cannot be written.
    """
    from rich.console import Console
    from rich.progress import Progress

    from medfuse.ingest import find_studies, read_volume, write_nifti

    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file, expected a folder")
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with console.status(f"reading headers under {path.name or path}"):
        found = find_studies(path)
    failures = [f"{rejected.reason}: {rejected.detail}" for rejected in found.rejected]
    series = [one for study in found.studies for one in study.series]
    _make_folder(output)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for one in progress.track(series, description="converting"):
            try:
                volume = read_volume(one)
            except StudyError as error:
                failures.append(f"{error.reason}: {error.detail}")
                continue
            write_nifti(volume, output / file_name(one), dtype=disk_dtype(volume))
    for line in failures:
        console.print(line)
    for problem in (problem for study in found.studies for problem in study.problems):
        console.print(f"note: {problem}")
    written = len(series) - (len(failures) - len(found.rejected))
    typer.echo(f"{written} of {len(series)} series written to {output}")
    if failures:
        raise typer.Exit(1)


def file_name(series: "Series") -> str:
    """`<SeriesNumber>_<SeriesInstanceUID>.nii.gz`; a missing number is 0."""
    uid = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in series.series_instance_uid)
    return f"{series.number or 0}_{uid}.nii.gz"


def disk_dtype(volume: "Volume") -> Any:
    """Int16 where that loses nothing, else float32."""
    import numpy as np

    voxels = volume.voxels
    limits = np.iinfo(np.int16)
    fits = float(voxels.min()) >= limits.min and float(voxels.max()) <= limits.max
    whole = fits and all(np.array_equal(plane, np.rint(plane)) for plane in np.moveaxis(voxels, -1, 0))
    return np.int16 if whole else np.float32


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {output}: {error.strerror}") from error
