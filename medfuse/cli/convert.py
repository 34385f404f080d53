"""`medfuse convert`: every image series as NIfTI, to look at what medfuse sees."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuse.errors import StorageError, StudyError, UsageError

if TYPE_CHECKING:
    from medfuse.domain import Series, Volume


def convert(
    path: Annotated[Path, typer.Argument(help="Folder with DICOM or NIfTI files, of any names and nesting.")],
    output: Annotated[Path, typer.Option("--output", help="Folder to write to; made when missing.")],
    fill_gaps: Annotated[
        bool, typer.Option("--fill-gaps", help="Interpolate missing slices instead of refusing the series.")
    ] = False,
) -> None:
    """Write each image series as `<SeriesNumber>_<SeriesInstanceUID>[_<part>].nii.gz`.

    A series that holds several volumes (echoes, phases, b-values, stacks) gives one file a volume. CT is in Hounsfield
    units, PET in SUV; a tilted gantry is set upright. Voxels that are all whole numbers are stored as 16-bit integers,
    others as 32-bit floats. A series that cannot become a volume gives one line with its reason and exit code 1.

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
    series = [one for study in found.studies for one in study.series]
    refused, notes = _refused([line for study in found.studies for line in study.problems], series)
    failures = [*(f"{rejected.reason}: {rejected.detail}" for rejected in found.rejected), *refused]
    _make_folder(output)
    names = _file_names(series)
    written = 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for one, name in progress.track(list(zip(series, names, strict=True)), description="converting"):
            try:
                volume = read_volume(one, fill_gaps=fill_gaps)
            except StudyError as error:
                failures.append(f"{error.reason}: {error.detail}")
                continue
            write_nifti(volume, output / name, dtype=disk_dtype(volume))
            written += 1
            notes += [f"{name}: {line}" for line in volume.provenance]
    for line in failures:
        console.print(line)
    for line in notes:
        console.print(f"note: {line}")
    typer.echo(f"{written} of {len(series) + len(refused)} series written to {output}")
    if failures:
        raise typer.Exit(1)


def file_name(series: "Series") -> str:
    """`<SeriesNumber>_<SeriesInstanceUID>[_<part>].nii.gz`; a missing number is 0."""
    words = [series.series_instance_uid, *([series.part] if series.part else [])]
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in "_".join(words))
    return f"{series.number or 0}_{name}.nii.gz"


def _file_names(series: Sequence["Series"]) -> list[str]:
    """A name for each series, told apart by a number where two studies hold a series of one UID."""
    taken: Counter[str] = Counter()
    names = []
    for one in series:
        name = file_name(one)
        taken[name] += 1
        names.append(name if taken[name] == 1 else f"{name.removesuffix('.nii.gz')}_{taken[name]}.nii.gz")
    return names


def _refused(problems: Sequence[str], series: Sequence["Series"]) -> tuple[list[str], list[str]]:
    """Split problem lines into series that are no volume, and remarks; a series that is read tells its own reason."""
    keys = {one.key for one in series}
    refused, notes = [], []
    for line in problems:
        named = re.match(r"[A-Z_]+: series ([^\s:]+)", line)
        if named is None:
            notes.append(line)
        elif named[1] not in keys:
            refused.append(line)
    return refused, notes


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
