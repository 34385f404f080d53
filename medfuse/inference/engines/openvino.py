"""OpenVINO on the CPU, in fp32 or bf16."""

import torch

from medfuse.inference.engines.base import ENGINES, Encoded, Precision, Window
from medfuse.inference.engines.graph import WindowGraph, graph_inputs, model_output, token_width
from medfuse.inference.engines.onnx_graph import EXPORTERS, cached_onnx, feeds, require, stacked
from medfuse.inference.engines.pytorch import PyTorchEngine
from medfuse.model import FusionNetwork
from medfuse.tensors import Batch, ModelOutput

_HINTS = {"fp32": "f32", "bf16": "bf16"}


@ENGINES.register("openvino")
class OpenVinoEngine(PyTorchEngine):
    """The exported network in OpenVINO; the text encoder stays in PyTorch.

    Args:
        network: On the CPU.
        window: Size of a window.
        precision: fp32 or bf16, which it emulates where the processor has none.

    Raises:
        UsageError: A package is missing, or the network sees no image.
        StorageError: The exported graph cannot be cached.
    """

    name = "openvino"
    packages = ("openvino", *EXPORTERS)

    def __init__(self, network: FusionNetwork, window: Window, /, *, precision: Precision = "fp32") -> None:
        require(self.packages, "engine openvino")
        super().__init__(network, window, precision=precision)
        import openvino

        self.graph = WindowGraph(network)
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self.compiled = core.compile_model(core.read_model(str(cached_onnx(network, window))), "CPU", settings)
        self.wanted = [port.get_any_name() for port in self.compiled.inputs]

    @torch.inference_mode()
    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        """Answer a batch, window by window."""
        given = self.encode(batch.text) if encoded is None else encoded
        inputs = graph_inputs(batch, given, token_width(self.network))
        rows = []
        for row in range(len(batch.image)):
            outputs = self.compiled(feeds(inputs, row, self.wanted))
            rows.append({name: outputs[name] for name in self.graph.names})
        return model_output(stacked(rows), self.graph.targets, batch.text.mask.shape[1])
