"""How fast DICOM is read, beside the tools that people use today: one run, interleaved repeats, medians, ratios.

    python tests/benchmarks/bench_dicom.py [--part read|compressed|index] [--repeats 5] [--json bench.json]

All data are made from a seed in a temporary folder. Every repeat runs every reader once, one after the other, on files
that the system holds in memory; only the cold index has the files' content dropped from memory first (posix_fadvise
DONTNEED on every file; names and inodes stay known to the system). dcm2niix runs as its own process and writes an
uncompressed NIfTI to memory (/dev/shm, or the temporary folder where there is none). A target that is missed is said;
the exit code is 0 all the same.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from medfuse.domain import Series
from medfuse.ingest import find_studies, read_volume
from tests.benchmarks.dicom_data import SYNTAXES, body, drop_from_memory, write_series, write_studies

READ_TARGETS = {"SimpleITK": 5.0, "dcm2niix": 3.0, "MONAI PydicomReader": 20.0, "MONAI ITKReader": 20.0}
COMPRESSED_TARGETS = {"JPEG lossless": 2.0, "JPEG-LS": 2.0}
COLD_TARGET, UNCHANGED_TARGET = 5.0, 50.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a reader on one task."""

    part: str
    task: str
    reader: str
    median_ms: float
    fastest_ms: float
    note: str = ""
    ratio: float | None = None
    target: float | None = None

    @property
    def missed(self) -> bool:
        """Whether a target was set and not reached."""
        return self.target is not None and (self.ratio or 0.0) < self.target


def main() -> None:
    """Run the parts that were asked for, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--part", choices=PARTS, action="append", help="run only this part (may be repeated)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300, help="slices of the uncompressed series")
    parser.add_argument("--compressed-slices", type=int, default=60)
    parser.add_argument("--files", type=int, default=20_000, help="files to index")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-dicom-") as folder:
        for part in arguments.part or list(PARTS):
            rows += PARTS[part](Path(folder), arguments)
    show(rows)
    if arguments.json:
        told = {"machine": machine(), "repeats": arguments.repeats, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cores": os.cpu_count(), "load_1min": load, "python": sys.version.split()[0]}


# Reading one uncompressed series


def bench_read(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """An uncompressed CT series to float32 HU, through every reader's own door."""
    place = write_series(folder / "plain", n_slices=arguments.slices, size=512)
    series = only_series(place)
    readers: dict[str, Callable[[], object]] = {
        "medfuse": lambda: read_volume(series),
        "SimpleITK": lambda: read_simpleitk(place),
        "SimpleITK, files named": lambda: read_simpleitk(place, names),
        "dcm2niix": lambda: run_dcm2niix(place),
        "pydicom": lambda: read_pydicom(place),
        "MONAI PydicomReader": lambda: read_monai(place, "PydicomReader"),
    }
    if find_spec("itk") is not None:
        readers["MONAI ITKReader"] = lambda: read_monai(place, "ITKReader")
    names = simpleitk_names(place)
    check_same(series, place, arguments.slices)
    times = interleaved(without_missing(readers), arguments.repeats)
    task = f"{arguments.slices} slices 512x512 int16"
    shutil.rmtree(place)
    return rows_of("read", task, times, READ_TARGETS)


def only_series(place: Path) -> Series:
    """The one series of a folder."""
    (study,) = find_studies(place, cache=None).studies
    (series,) = study.series
    return series


def check_same(series: Series, place: Path, n_slices: int) -> None:
    """Stop where a reader's voxels are not the made ones: a wrong answer has no speed."""
    volume = read_volume(series).voxels
    other = read_simpleitk(place).transpose(2, 1, 0)
    truth = next(body(n_slices, 512)).T
    if volume.dtype != np.float32 or not np.array_equal(volume, other) or not np.array_equal(volume[:, :, 0], truth):
        raise SystemExit("the readers disagree on the voxels")


def simpleitk_names(place: Path) -> Sequence[str]:
    """The files of the series in the order of the slices, as SimpleITK finds them."""
    import SimpleITK

    return SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(place))


def read_simpleitk(place: Path, names: Sequence[str] | None = None) -> Any:
    """SimpleITK's ImageSeriesReader to a float32 array."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(simpleitk_names(place) if names is None else names)
    image = reader.Execute()  # the view does not keep it alive
    return SimpleITK.GetArrayViewFromImage(image).astype(np.float32)


def run_dcm2niix(place: Path) -> None:
    """dcm2niix in its own process, NIfTI to memory."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as out:
        command = [str(Path(sys.executable).with_name("dcm2niix")), "-z", "n", "-b", "n", "-o", out, str(place)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not list(Path(out).glob("*.nii")):
            raise SystemExit(f"dcm2niix made nothing of {place.name}")


def without_missing(readers: dict[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """The readers that are installed here."""
    if find_spec("dcm2niix") is None:
        readers.pop("dcm2niix")
        sys.stderr.write("dcm2niix is left out: python3 -m pip install dcm2niix\n")
    return readers


def read_pydicom(place: Path) -> Any:
    """The usual loop over pydicom datasets: sort by position, rescale, stack."""
    import pydicom

    datasets = [pydicom.dcmread(path) for path in place.iterdir()]
    datasets.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
    planes = [one.pixel_array * np.float32(one.RescaleSlope) + np.float32(one.RescaleIntercept) for one in datasets]
    return np.stack(planes)


def read_monai(place: Path, reader: str) -> Any:
    """MONAI's LoadImage."""
    from monai.transforms import LoadImage

    return LoadImage(reader=reader, image_only=True)(str(place))


# Compressed series


def bench_compressed(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """The same CT in twelve unsigned bits, compressed; the time is that of the codec."""
    rows: list[Row] = []
    for name, syntax in SYNTAXES.items():
        place = write_series(folder / name, n_slices=arguments.compressed_slices, size=512, syntax=syntax)
        rows += compressed_rows(name, place, arguments)
        shutil.rmtree(place)
    return rows


def compressed_rows(name: str, place: Path, arguments: argparse.Namespace) -> list[Row]:
    """The readers on one transfer syntax."""
    series = only_series(place)
    check_same(series, place, arguments.compressed_slices)
    readers: dict[str, Callable[[], object]] = {
        "medfuse": lambda: read_volume(series),
        "SimpleITK": lambda: read_simpleitk(place),
        "dcm2niix": lambda: run_dcm2niix(place),
        "pydicom": lambda: read_pydicom(place),
    }
    times = interleaved(without_missing(readers), arguments.repeats)
    megabytes = arguments.compressed_slices * 512 * 512 * 2 / 1e6
    packed = megabytes * 1e6 / sum(path.stat().st_size for path in place.iterdir())
    targets = {"SimpleITK": COMPRESSED_TARGETS[name]} if name in COMPRESSED_TARGETS else {}
    rows = rows_of("compressed", f"{name} (1:{packed:.1f})", times, targets, megabytes=megabytes)
    if targets:
        return rows
    best = min((row for row in rows if row.reader != "medfuse"), key=lambda row: row.median_ms)
    return [Row(**{**asdict(row), "target": 1.0}) if row == best else row for row in rows]


# Indexing


def bench_index(folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """Many small studies: the headers read by pydicom, by medfuse, and by medfuse again when nothing has changed."""
    root = folder / "index"
    files = write_studies(root, n_files=arguments.files)
    os.sync()
    cache = folder / "cache"
    times: dict[str, list[float]] = {"pydicom headers": [], "medfuse": [], "medfuse, no cache": [], "again": []}
    for _ in range(min(arguments.repeats, 3)):
        shutil.rmtree(cache, ignore_errors=True)
        drop_from_memory(files)
        times["pydicom headers"].append(seconds(lambda: pydicom_headers(files)))
        drop_from_memory(files)
        times["medfuse"].append(seconds(lambda: find_studies(root, cache=cache)))
        drop_from_memory(files)
        times["medfuse, no cache"].append(seconds(lambda: find_studies(root, cache=None)))
        times["again"].append(seconds(lambda: find_studies(root, cache=cache)))
    if find_studies(root, cache=cache) != find_studies(root, cache=None):
        raise SystemExit("the cache gives another answer")
    shutil.rmtree(root)
    task = f"{arguments.files} files"
    header = statistics.median(times["pydicom headers"])
    per_file = {
        name: f"{statistics.median(taken) / arguments.files * 1e6:.0f} us a file" for name, taken in times.items()
    }
    cold = "find_studies, cold, cache written"
    return [
        row(
            "index",
            f"{task}, cold",
            "pydicom, stop_before_pixels",
            times["pydicom headers"],
            per_file["pydicom headers"],
        ),
        row("index", f"{task}, cold", cold, times["medfuse"], per_file["medfuse"], header, COLD_TARGET),
        row(
            "index",
            f"{task}, cold",
            "find_studies, cold, no cache",
            times["medfuse, no cache"],
            per_file["medfuse, no cache"],
            header,
        ),
        row(
            "index",
            f"{task}, unchanged",
            "find_studies, second time",
            times["again"],
            per_file["again"],
            header,
            UNCHANGED_TARGET,
        ),
    ]


def pydicom_headers(files: Sequence[Path]) -> None:
    """Every header, and from each what tells its study and series."""
    import pydicom

    for path in files:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        _ = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


# Timing and telling

PARTS: dict[str, Callable[[Path, argparse.Namespace], list[Row]]] = {
    "read": bench_read,
    "compressed": bench_compressed,
    "index": bench_index,
}


def interleaved(readers: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every reader in every repeat; each is called once before, so that imports and caches are warm."""
    for action in readers.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, action in readers.items():
            times[name].append(seconds(action))
    return times


def seconds(action: Callable[[], object]) -> float:
    """Seconds of one call; what it gives is let go of outside of the time."""
    gc.collect()
    started = time.perf_counter()
    made = action()
    taken = time.perf_counter() - started
    del made
    return taken


def row(
    part: str,
    task: str,
    reader: str,
    taken: Sequence[float],
    note: str = "",
    against: float | None = None,
    target: float | None = None,
) -> Row:
    """A line; the ratio is how many times as long the other one takes."""
    median = statistics.median(taken)
    return Row(
        part=part,
        task=task,
        reader=reader,
        median_ms=1000 * median,
        fastest_ms=1000 * min(taken),
        note=note,
        ratio=None if against is None else against / median,
        target=target,
    )


def rows_of(
    part: str, task: str, times: dict[str, list[float]], targets: dict[str, float], *, megabytes: float | None = None
) -> list[Row]:
    """Lines of readers: the ratio is how many times as long as medfuse each takes."""
    ours = statistics.median(times["medfuse"])
    rows = []
    for name, taken in times.items():
        median = statistics.median(taken)
        rows.append(
            Row(
                part=part,
                task=task,
                reader=name,
                median_ms=1000 * median,
                fastest_ms=1000 * min(taken),
                note=f"{megabytes / median:.0f} MB/s" if megabytes else "",
                ratio=None if name == "medfuse" else median / ours,
                target=targets.get(name),
            )
        )
    return rows


def show(rows: Sequence[Row]) -> None:
    """Print the table, then what was missed."""
    table = Table("task", "reader", "median ms", "fastest ms", "", "ratio", "target", "")
    for one in rows:
        table.add_row(
            one.task,
            one.reader,
            f"{one.median_ms:,.1f}",
            f"{one.fastest_ms:,.1f}",
            one.note,
            "" if one.ratio is None else f"{one.ratio:.2f}",
            "" if one.target is None else f">= {one.target:g}",
            "" if one.target is None else "missed" if one.missed else "met",
            end_section=one.reader == rows[-1].reader,
        )
    console = Console(width=140)
    console.print(table)
    console.print(f"ratio: how many times as long as medfuse; {json.dumps(machine())}", highlight=False)
    for one in rows:
        if one.missed:
            console.print(f"missed: {one.task}, {one.reader}: {one.ratio:.2f}, target {one.target:g}", highlight=False)


if __name__ == "__main__":
    main()
