"""PyTorch: eager, in fp32 or bf16, or compiled."""

from dataclasses import replace

import torch
from torch import Tensor

from medfuse.inference.engines.base import ENGINES, Encoded, Engine, Precision, Window
from medfuse.inference.engines.graph import WindowGraph, graph_inputs, model_output, token_width
from medfuse.model import FusionNetwork
from medfuse.tensors import Batch, ModalityFeatures, ModelOutput, TextTokens, on_device


@ENGINES.register("pytorch")
class PyTorchEngine(Engine):
    """The network as it was trained: the reference that other engines are held against, in fp32.

    In bf16, convolutions and linear maps multiply in bf16 (autocast), and kernels lie channels-last.

    Args:
        network: On the device where it runs.
        window: Size of a window.
        precision: fp32 or bf16.
    """

    name = "pytorch"

    def __init__(self, network: FusionNetwork, window: Window, /, *, precision: Precision = "fp32") -> None:
        super().__init__(network)
        self.window = window
        self.precision = precision
        parameter: Tensor | None = next(network.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device

    @torch.inference_mode()
    def encode(self, tokens: TextTokens) -> Encoded:
        """Features of the text of one study, in fp32."""
        encoder = self.network.text_encoder
        return {} if encoder is None else {"text": encoder(on_device(tokens, self.device))}

    @torch.inference_mode()
    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        """Answer a batch."""
        rows = len(batch.image)
        given = {name: repeated(features, rows) for name, features in (encoded or {}).items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            output: ModelOutput = self.network(batch.to(self.device), given)
        return output


@ENGINES.register("compiled")
class CompiledEngine(PyTorchEngine):
    """The network compiled by TorchInductor for windows of one size; it needs a C++ compiler and some minutes at first.

    Args:
        network: On the device where it runs.
        window: Size of a window.
        precision: fp32 or bf16.
    """

    name = "compiled"

    def __init__(self, network: FusionNetwork, window: Window, /, *, precision: Precision = "fp32") -> None:
        super().__init__(network, window, precision=precision)
        self.graph = WindowGraph(network)
        self.compiled = torch.compile(self.graph, dynamic=False)

    @torch.inference_mode()
    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        """Answer a batch."""
        given = self.encode(batch.text) if encoded is None else encoded
        inputs = graph_inputs(batch.to(self.device), given, token_width(self.network))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self.compiled(*inputs)
        told = dict(zip(self.graph.names, outputs, strict=True))
        return model_output(told, self.graph.targets, batch.text.mask.shape[1])


def repeated(features: ModalityFeatures, rows: int) -> ModalityFeatures:
    """Features of one study, as often as a batch has rows; those of a whole batch as they are."""
    if len(features.tokens) == rows:
        return features
    return replace(
        features,
        tokens=features.tokens.expand(rows, -1, -1),
        mask=features.mask.expand(rows, -1),
        present=features.present.expand(rows),
    )
