"""A network as an ONNX file: the image encoder, the fusion, the decoder and the heads, for windows of one size."""

import contextlib
import hashlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor

from medfuse import __version__
from medfuse.errors import UsageError
from medfuse.inference.engines.base import Window
from medfuse.inference.engines.graph import GraphInputs, WindowGraph, channel_count, example_inputs
from medfuse.model import FusionNetwork
from medfuse.storage import write_file

OPSET = 20
CACHE_VARIABLE = "MEDFUSE_CACHE_DIR"
EXPORTERS = ("onnx", "onnxscript")

LOG = logging.getLogger(__name__)


def export_onnx(network: FusionNetwork, window: Window, path: Path) -> None:
    """Write a network as ONNX, whole or not at all; batches of one window, texts of any length.

    Inputs and outputs are those of `medfuse.inference.engines.graph`; the text comes encoded.

    Args:
        network: In evaluation mode, on the CPU.
        window: Size of its input.
        path: The file; an older one is replaced.

    Raises:
        UsageError: The packages for it are not installed, or the network sees no image.
        StorageError: It cannot be written.
    """
    require(EXPORTERS, "writing ONNX")
    if not channel_count(network):
        raise UsageError("the model sees no image, so there is nothing to export; take --engine pytorch")
    try:
        program = _program(WindowGraph(network).eval(), example_inputs(network, window))
    except RuntimeError as error:
        LOG.debug("the export failed", exc_info=True)
        raise UsageError(
            f"this network cannot be written as ONNX ({type(error).__name__}; --verbose shows why); "
            "take --engine pytorch, and medfuse export --bundle"
        ) from error
    write_file(path, lambda aside: _save(program, aside))


def cached_onnx(network: FusionNetwork, window: Window) -> Path:
    """The ONNX file of a network in the user's cache folder, written when it is not there.

    Raises:
        UsageError: The packages for it are not installed, or the network sees no image.
        StorageError: It cannot be written.
    """
    path = cache_folder() / f"{network_hash(network, window)}.onnx"
    if not path.is_file():
        export_onnx(network, window, path)
    return path


def cache_folder() -> Path:
    """Where exported graphs and choices of engines are kept: below `MEDFUSE_CACHE_DIR`, or the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    folder = (Path(named) if named else user_cache_path("medfuse")) / "engines"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def network_hash(network: FusionNetwork, window: Window) -> str:
    """A hash over what an exported graph follows from: parts, weights, window, and the versions that write it."""
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {OPSET} {window} {network!r}".encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def require(packages: Sequence[str], purpose: str) -> None:
    """See that optional packages are installed.

    Raises:
        UsageError: One is not.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{purpose} needs {' and '.join(missing)}: pip install 'medfuse[engines]'")


def feeds(inputs: GraphInputs, row: int, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    """One row of a graph's inputs as arrays, those that it has kept."""
    return {name: np.ascontiguousarray(getattr(inputs, name)[row : row + 1].cpu().numpy()) for name in wanted}


def stacked(rows: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Tensor]:
    """The outputs of rows that ran one by one, as those of a batch."""
    return {name: torch.cat([torch.from_numpy(np.array(row[name])) for row in rows]) for name in rows[0]}


def _program(graph: WindowGraph, inputs: GraphInputs) -> Any:
    words = {1: torch.export.Dim("words", min=2, max=4096)} if graph.network.text_encoder is not None else None
    with torch.no_grad(), _quiet():
        return torch.onnx.export(
            graph,
            tuple(inputs),
            input_names=list(GraphInputs._fields),
            output_names=graph.names,
            dynamic_shapes=tuple(words if name in ("text_tokens", "text_mask") else None for name in inputs._fields),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


def _save(program: Any, path: Path) -> None:
    with _quiet():
        program.save(str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, warnings and log lines from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
