"""Prepared studies kept on disk, so that a second training, or another fold, reads no source file again.

    CACHE/<recipe>/<study>/image.npy    float32, shape (C, I, J, K)
    CACHE/<recipe>/<study>/truth.npy    uint8, shape (I, J, K); not there without a delineation
    CACHE/<recipe>/<study>/case.json    what is left to say, and the checksums of the arrays

Both names are hashes: one of the recipe, the segments and the code that prepares, the other of the study, its series
and the names, sizes and times of its files. Whatever changes any of them makes a new entry; the old one stays until
somebody removes it, which may be done at any time when no training runs. No name, identifier or text is in an entry:
reports are read again. Only the user may read them.

The arrays are memory-mapped, so that a data set larger than memory trains. They are kept as float32: float16 would take
half the space, but is turned back no faster than float32 is copied (0.15 against 0.13 ms a study of 40 x 56 x 40 from
the page cache) and moves standardised intensities by up to 1e-3, while a case from the cache equals the one made anew,
bit for bit. Each file is read once through its checksum when it is opened: one of the many passes over the data that a
training makes.

Whatever cannot be trusted is as good as nothing. Entries are written aside and renamed, so that processes side by side
do not disturb each other.
"""

import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medfuse
from medfuse.domain.study import Study
from medfuse.errors import StorageError
from medfuse.preprocess import Recipe
from medfuse.storage import storage, whole_folder

LOG = logging.getLogger(__name__)

_FORMAT = "medfuse case 1"
_CODE = ("data", "domain", "ingest", "preprocess")
"""Packages whose code decides what a prepared study is."""
_LIBRARIES = ("nibabel", "numpy", "pydicom", "scipy", "SimpleITK", "torch")
"""Libraries whose versions do."""
_DESCRIBED_BY = 4
"""How many folders above a delineation may hold the table that names its regions."""
_BROKEN = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseArrays:
    """What a case is made of, without whose it is and what is written about it.

    Args:
        image: float32, shape `(C, I, J, K)`.
        channel_present: Shape `(C,)`.
        truth: Label map of the grid, or None.
        voxel_volume_ml: Volume of a voxel.
        floor: Smallest value of each channel, which stands beyond the grid.
        segments_seen: Which segments the study's delineations show, as positions in the label set.
    """

    image: NDArray[np.float32]
    channel_present: NDArray[np.bool_]
    truth: NDArray[np.uint8] | None
    voxel_volume_ml: float
    floor: tuple[float, ...]
    segments_seen: tuple[int, ...] = ()


class CaseCache:
    """The prepared studies of one recipe and one list of segments.

    Args:
        folder: Where entries are kept; made when it is not there.
        recipe: How a study becomes input. The size of the network's input and what is read of a text are no part of
            the key, for they do not change the arrays.
        segments: What the label maps hold.
    """

    def __init__(self, folder: Path, recipe: Recipe, segments: Sequence[str]) -> None:
        arrays_of = replace(recipe, size=(1, 1, 1), text_sections=(), allow_leakage=False)
        self.folder = folder / _digest([repr(arrays_of), repr(tuple(segments)), _stamp()])
        self._told = False

    def get(self, study: Study, make: Callable[[], CaseArrays]) -> CaseArrays:
        """The arrays of a study: memory-mapped from its entry, or else made, and kept where that is possible.

        Args:
            study: Which; its files are looked at, not opened.
            make: Makes them.
        """
        try:
            key = study_key(study)
        except OSError:  # a file is gone: making the arrays says it better
            return make()
        entry = self.folder / key
        kept = _read(entry, key)
        if kept is not None:
            return kept
        made = make()
        try:
            if study_key(study) != key:  # it changed while it was read
                return made
            kept = _read(entry, key)  # another process may have been faster
            if kept is None:
                self._write(entry, key, made)
                kept = _read(entry, key)
        except (StorageError, OSError) as error:
            kept = _read(entry, key)
            if kept is None and not self._told:
                self._told = True
                LOG.warning("data.cache: %s; what cannot be kept there stays in memory", error)
        return made if kept is None else kept

    def _write(self, entry: Path, key: str, made: CaseArrays) -> None:
        with storage(self.folder):
            for folder in (self.folder.parent, self.folder):  # parents made on the way have the default permissions
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with whole_folder(entry) as partial:
            partial.chmod(0o700)
            arrays = {"image": made.image, "truth": made.truth}
            files = {name: _save(partial / f"{name}.npy", array) for name, array in arrays.items() if array is not None}
            body = json.dumps(
                {
                    "files": files,
                    "channel_present": made.channel_present.tolist(),
                    "voxel_volume_ml": made.voxel_volume_ml,
                    "floor": made.floor,
                    "segments_seen": made.segments_seen,
                }
            )
            with _private(partial / "case.json") as file:
                file.write(f"{_head(key, body)}\n{body}".encode())


def study_key(study: Study) -> str:
    """A hash of what the arrays of a study are made from; its reports are no part of it.

    Raises:
        OSError: A file is not there any more.
    """
    files = [*(path for series in study.series for path in series.files), *study.segmentations]
    tables = sorted({table for path in study.segmentations for table in _tables_beside(path.absolute())})
    states = (_state(path) for path in (*files, *tables))
    return _digest([study.study_instance_uid, repr(study.series), repr(study.segmentations), *states])


def floor_of(image: NDArray[np.float32]) -> tuple[float, ...]:
    """The smallest value of each channel."""
    return tuple(float(channel.min()) for channel in image)


def _state(path: Path) -> str:
    status = path.stat()
    return f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"


def _tables_beside(path: Path) -> Iterable[Path]:
    """The tables that may name the regions of a label map."""
    if not path.name.endswith((".nii", ".nii.gz")):
        return ()
    return [table for folder in path.parents[:_DESCRIBED_BY] for table in _tables_in(folder)]


@cache
def _tables_in(folder: Path) -> tuple[Path, ...]:
    """Each folder is listed once a process: for every study it would cost the square of their number."""
    return tuple(path for path in (folder / "dataset.json", *folder.glob("*.tsv")) if path.is_file())


@cache
def _stamp() -> str:
    """Changes with the code and the libraries that make the arrays."""
    place = Path(medfuse.__file__).parent
    files = sorted(path for name in _CODE for path in (place / name).rglob("*.py"))
    code = blake2b(b"\0".join(path.read_bytes() for path in files), digest_size=16).hexdigest()
    return repr((_FORMAT, code, [metadata.version(name) for name in _LIBRARIES]))


def _digest(parts: Iterable[str]) -> str:
    whole = "\0\0".join(parts)
    return blake2b(whole.encode(errors="surrogateescape"), digest_size=16, person=b"medfuse-case").hexdigest()


def _head(key: str, body: str) -> str:
    return json.dumps([_FORMAT, key, _digest([body])])


def _private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _save(path: Path, array: NDArray[Any]) -> int:
    """Write an array; gives the checksum of its file."""
    with _private(path) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array))
    return _checksum(path)


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total = zlib.crc32(block, total)
    return total


def _read(entry: Path, key: str) -> CaseArrays | None:
    """The arrays of an entry, memory-mapped; None where there is none that can be trusted."""
    try:
        head, body = (entry / "case.json").read_bytes().decode().split("\n", 1)
        if head != _head(key, body):
            return None
        told = json.loads(body)
        arrays = {name: _open(entry / f"{name}.npy", checksum) for name, checksum in told["files"].items()}
        return CaseArrays(
            image=arrays["image"],
            channel_present=np.array(told["channel_present"], dtype=bool),
            truth=arrays.get("truth"),
            voxel_volume_ml=told["voxel_volume_ml"],
            floor=tuple(told["floor"]),
            segments_seen=tuple(told["segments_seen"]),
        )
    except FileNotFoundError:
        return None
    except _BROKEN as error:
        LOG.info("an entry of the case cache cannot be used (%s)", type(error).__name__)
        return None


def _open(path: Path, checksum: int) -> Any:
    if _checksum(path) != checksum:
        raise ValueError("the checksum differs")
    return np.lib.format.open_memmap(path, mode="r")
