"""The loss curve of a run: `losses.csv`, and the same for TensorBoard.

An epoch is written down before its checkpoint replaces the last one, and resuming drops what came after that
checkpoint: a run that was killed at any moment has the curve of one that was not.
"""

import csv
import io
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.errors import CheckpointError
from medfuse.storage import write_file
from medfuse.training.loop import Losses, Validation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TABLE, LOG = "losses.csv", "log"
COLUMNS = (
    "train/total",
    "train/findings",
    "train/segments",
    "train/targets",
    "validation/total",
    "validation/targets",
    "validation/dice",
    "validation/auroc",
)


class LossCurve(AbstractContextManager["LossCurve"]):
    """Writes a line an epoch to `losses.csv` and to TensorBoard.

    Args:
        run: The run folder.
        epoch: The epoch that training goes on from; what stands there from it on is dropped.

    Raises:
        CheckpointError: The table there is broken.
    """

    def __init__(self, run: Path, epoch: int) -> None:
        self.path = run / TABLE
        self._rows = [row for row in _read(self.path) if int(row[0]) < epoch]
        self._log: SummaryWriter | None = None
        self._folder, self._epoch = run / LOG, epoch

    def __enter__(self) -> "LossCurve":
        from torch.utils.tensorboard import SummaryWriter

        self._log = SummaryWriter(str(self._folder), purge_step=self._epoch)
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    def add(self, epoch: int, losses: Losses, seen: Validation | None) -> None:
        """Write down an epoch; it is on the disk when this returns.

        Raises:
            StorageError: It cannot be written.
        """
        values: list[float | None] = [losses.total, losses.findings, losses.segments, losses.targets]
        values += [] if seen is None else [seen.losses.total, seen.losses.targets, seen.dice, seen.auroc]
        told = dict(zip(COLUMNS, [*values, *[None] * (len(COLUMNS) - len(values))], strict=True))
        self._rows.append([str(epoch), *("" if value is None else repr(value) for value in told.values())])
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([("epoch", *COLUMNS), *self._rows])
        write_file(self.path, lambda aside: aside.write_text(table.getvalue(), encoding="utf-8"))
        if self._log is not None:
            for name, value in {**told, "train/waiting": losses.waiting}.items():
                if value is not None and math.isfinite(value):
                    self._log.add_scalar(name, value, epoch)
            self._log.flush()


def _read(path: Path) -> list[list[str]]:
    """The rows of a table, without its header."""
    if not path.is_file():
        return []
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, csv.Error) as error:
        raise CheckpointError(f"{path} cannot be read; remove it, and the curve starts anew") from error
    if header != ["epoch", *COLUMNS] or not all(row and row[0].isdecimal() for row in rows):
        raise CheckpointError(f"{path} is no loss curve of medfuse; remove it, and the curve starts anew")
    return rows
