"""What a run said of a split, kept beside it, so that figures are made again without the network.

    RUN/predictions/test.json             the cases of the test split
    RUN/predictions/test-without-text.json   the same with an input kept from the model

A file serves again when it is of the same checkpoint (weights, calibration and all that lies in its folder), the same
manifest, the same studies and inputs, and holds what is asked for. Otherwise the split is scored anew. It holds
pseudonymous keys, labels and numbers; no text, no path.
"""

import functools
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medfuse import __version__
from medfuse.domain import Rejected
from medfuse.errors import StorageError, UsageError
from medfuse.evaluation.cases import Case
from medfuse.evaluation.evaluate import Subject
from medfuse.evaluation.run import Collected, EvaluationSet
from medfuse.storage import write_file

SCHEMA_VERSION = 1
FOLDER = "predictions"
_DESCRIPTION, _WEIGHTS = "checkpoint.json", "model.safetensors"
"""Files of a checkpoint, as `medfuse.model.checkpoint` writes them; named here, since importing it loads torch."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPredictions:
    """The cases of one split of one run, and what they were made from.

    Args:
        subject: The model, its label set, the split, the manifest, the inputs that were kept from it.
        checkpoint_sha256: Hash of the checkpoint (see `checkpoint_sha256`).
        studies_sha256: Hash over the studies that were asked for, in order.
        tolerances_mm: At which the surface Dice is held.
        cases: The scored studies.
        rejected: Those without a result.
    """

    schema_version: int = SCHEMA_VERSION
    medfuse_version: str = __version__
    subject: Subject
    checkpoint_sha256: str
    studies_sha256: str
    tolerances_mm: tuple[float, ...]
    cases: tuple[Case, ...]
    rejected: tuple[Rejected, ...] = ()

    @property
    def collected(self) -> Collected:
        """As `collect_cases` gave it."""
        return Collected(cases=self.cases, rejected=self.rejected, subject=self.subject)


def stored_path(run: Path, split: str, without: Sequence[str] = (), augmentations: int = 0) -> Path:
    """Where the predictions of a run on a split are kept."""
    parts = [split, *(["without", *sorted(without)] if without else [])]
    parts += ["augmented", str(augmentations)] if augmentations else []
    return run / FOLDER / ("-".join(re.sub(r"[^\w.]+", "_", part) for part in parts) + ".json")


def write_stored(run: Path, chosen: EvaluationSet, collected: Collected) -> Path:
    """Keep the predictions of a split beside the run.

    Returns:
        Where they are.

    Raises:
        StorageError: The run folder cannot be written.
    """
    path = stored_path(run, chosen.split, chosen.without, collected.subject.augmentations)
    stored = StoredPredictions(
        subject=collected.subject,
        checkpoint_sha256=checkpoint_sha256(run),
        studies_sha256=_studies_hash(chosen),
        tolerances_mm=chosen.tolerances_mm,
        cases=collected.cases,
        rejected=collected.rejected,
    )
    text = _adapter().dump_json(stored, indent=1) + b"\n"
    write_file(path, lambda aside: aside.write_bytes(text))
    return path


def read_stored(path: Path) -> StoredPredictions:
    """Read what `write_stored` wrote.

    Raises:
        UsageError: The file is missing, is no such file, or is of a newer schema.
    """
    try:
        stored = _adapter().validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; run medfuse evaluate on the run first") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} holds no predictions of medfuse: {where}: {first['msg']}") from error
    if stored.schema_version > SCHEMA_VERSION:
        raise UsageError(f"{path} has schema_version {stored.schema_version}, expected at most {SCHEMA_VERSION}")
    return stored


def checkpoint_sha256(run: Path) -> str:
    """Hash over the files of a run's best checkpoint; of the weights, that which its description holds. Empty for none.

    A checkpoint that is calibrated anew has the same weights and gives other probabilities.
    """
    best = run / "best"
    if not (best / _DESCRIPTION).is_file():
        return ""
    whole = hashlib.sha256()
    for path in sorted(best.iterdir()):
        if path.is_file() and path.name != _WEIGHTS:
            whole.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def find_stored(run: Path, chosen: EvaluationSet, augmentations: int = 0) -> Collected | None:
    """The predictions that are kept beside a run, if they are what scoring would give now; None to score.

    Args:
        run: The run folder.
        chosen: The studies, the manifest's hash, the inputs that are kept from the model, the tolerances.
        augmentations: Of the answers.
    """
    path = stored_path(run, chosen.split, chosen.without, augmentations)
    if not path.is_file():
        return None
    try:
        stored = read_stored(path)
    except UsageError as error:
        LOG.warning("%s; scoring anew", error)
        return None
    checkpoint = checkpoint_sha256(run)
    fits = {
        "weights or calibration": bool(checkpoint) and stored.checkpoint_sha256 == checkpoint,
        "manifest": stored.subject.manifest_sha256 == chosen.manifest_sha256,
        "studies": stored.studies_sha256 == _studies_hash(chosen),
        "inputs": set(stored.subject.without) == set(chosen.without),
        "augmentations": stored.subject.augmentations == augmentations,
        "tolerances": set(chosen.tolerances_mm) <= set(stored.tolerances_mm),
        "version": stored.medfuse_version == __version__,
    }
    other = [name for name, same in fits.items() if not same]
    if other:
        LOG.info("%s is of other %s; scoring anew", path, " and ".join(other))
        return None
    return stored.collected


def keep(run: Path, chosen: EvaluationSet, collected: Collected) -> None:
    """Keep the predictions where the run folder can be written; elsewhere say so and go on."""
    try:
        write_stored(run, chosen, collected)
    except StorageError as error:
        LOG.warning("%s; the split will be scored anew next time", error)


def _studies_hash(chosen: EvaluationSet) -> str:
    told = "\n".join(
        f"{row.study_instance_uid} {patient}" for row, patient in zip(chosen.rows, chosen.patient_keys, strict=True)
    )
    return hashlib.sha256(told.encode()).hexdigest()


@functools.cache
def _adapter() -> TypeAdapter[StoredPredictions]:
    return TypeAdapter(StoredPredictions)
