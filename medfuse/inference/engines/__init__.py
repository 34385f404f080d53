"""Engines: what runs a network over windows. All of them give what PyTorch gives in fp32, within a stated tolerance."""

from medfuse.inference.engines.base import ENGINES, Encoded, Engine, Precision, PrecisionChoice
from medfuse.inference.engines.choice import Choice, ChosenEngine, engine_for
from medfuse.inference.engines.onnxruntime import OnnxRuntimeEngine
from medfuse.inference.engines.openvino import OpenVinoEngine
from medfuse.inference.engines.pytorch import CompiledEngine, PyTorchEngine

__all__ = [
    "ENGINES",
    "Choice",
    "ChosenEngine",
    "CompiledEngine",
    "Encoded",
    "Engine",
    "OnnxRuntimeEngine",
    "OpenVinoEngine",
    "Precision",
    "PrecisionChoice",
    "PyTorchEngine",
    "engine_for",
]
