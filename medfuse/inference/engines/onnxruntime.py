"""ONNX Runtime on the CPU, fp32."""

import torch

from medfuse.inference.engines.base import ENGINES, Encoded, Precision, Window
from medfuse.inference.engines.graph import WindowGraph, graph_inputs, model_output, token_width
from medfuse.inference.engines.onnx_graph import EXPORTERS, cached_onnx, feeds, require, stacked
from medfuse.inference.engines.pytorch import PyTorchEngine
from medfuse.model import FusionNetwork
from medfuse.tensors import Batch, ModelOutput


@ENGINES.register("onnxruntime")
class OnnxRuntimeEngine(PyTorchEngine):
    """The exported network in ONNX Runtime; the text encoder stays in PyTorch.

    Args:
        network: On the CPU.
        window: Size of a window.
        precision: fp32; its kernels for the processor have no bf16.

    Raises:
        UsageError: A package is missing, or the network sees no image.
        StorageError: The exported graph cannot be cached.
    """

    name = "onnxruntime"
    precisions = ("fp32",)
    packages = ("onnxruntime", *EXPORTERS)

    def __init__(self, network: FusionNetwork, window: Window, /, *, precision: Precision = "fp32") -> None:
        require(self.packages, "engine onnxruntime")
        super().__init__(network, window, precision=precision)
        import onnxruntime

        self.graph = WindowGraph(network)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        path = cached_onnx(network, window)
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.wanted = [one.name for one in self.session.get_inputs()]

    @torch.inference_mode()
    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        """Answer a batch, window by window."""
        given = self.encode(batch.text) if encoded is None else encoded
        inputs = graph_inputs(batch, given, token_width(self.network))
        names = self.graph.names
        rows = [
            dict(zip(names, self.session.run(names, feeds(inputs, row, self.wanted)), strict=True))
            for row in range(len(batch.image))
        ]
        return model_output(stacked(rows), self.graph.targets, batch.text.mask.shape[1])
