"""A checkpoint as one ONNX file for windows of the model's size."""

import importlib.util
import logging
from pathlib import Path

import numpy as np
import torch

from medfuse.errors import UsageError
from medfuse.inference.engines.agreement import TOLERANCES, Difference, difference
from medfuse.inference.engines.graph import WindowGraph, example_inputs, model_output
from medfuse.inference.engines.onnx_graph import export_onnx
from medfuse.model import checkpoint as checkpoints

LOG = logging.getLogger(__name__)


def write_onnx(checkpoint: Path, path: Path) -> Difference | None:
    """Write a checkpoint's network as ONNX, and hold it against PyTorch where ONNX Runtime is installed.

    Inputs: `image` (1, C, I, J, K) as the recipe prepares it, `channel_present` (1, C), `voxel_volume_ml` (1,), and of
    a model with text `text_tokens` (1, N, D), `text_mask` (1, N) and `text_present` (1,), the output of its text
    encoder. Outputs: `finding_logits`, `text_attention`, one `target_<n>` a target, and `segment_logits`.

    Args:
        checkpoint: A checkpoint's folder.
        path: The file.

    Returns:
        How far it is from PyTorch on a window of noise; None when that could not be tried.

    Raises:
        CheckpointError: The checkpoint is missing or broken.
        UsageError: The packages for it are not installed, the network cannot be exported, or its answer differs.
        StorageError: The file cannot be written.
    """
    described, network = checkpoints.load(checkpoint)
    window = described.recipe.size
    export_onnx(network, window, path)
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    graph = WindowGraph(network).eval()
    inputs = example_inputs(network, window)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}
    words = inputs.text_mask.shape[1]
    with torch.inference_mode():
        expected = dict(zip(graph.names, graph(*inputs), strict=True))
    fed = {name: value.numpy() for name, value in inputs._asdict().items() if name in wanted}
    found = {
        n: torch.from_numpy(np.asarray(v)) for n, v in zip(graph.names, session.run(graph.names, fed), strict=True)
    }
    differs = difference(*(model_output(told, graph.targets, words) for told in (found, expected)))
    objection = TOLERANCES["fp32"].objection(differs)
    if objection:
        path.unlink()
        raise UsageError(f"the ONNX file {objection} on a window of noise, so it was removed; take a bundle instead")
    return differs
