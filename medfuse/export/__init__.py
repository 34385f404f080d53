"""A checkpoint as what other tools run: a MONAI bundle, or an ONNX file.

What a bundle's configs name (`load_network` and the transforms) is medfuse itself, so that a bundle predicts what
`medfuse score` does; whoever runs it installs medfuse.
"""

from medfuse.export.bundle import write_bundle
from medfuse.export.inferer import WindowInferer, prepare_batch
from medfuse.export.network import BundleNetwork, load_network
from medfuse.export.onnx import write_onnx
from medfuse.export.transforms import FromModelGridd, ReadReportd, SaveResultsd, ToModelGridd

__all__ = [
    "BundleNetwork",
    "FromModelGridd",
    "ReadReportd",
    "SaveResultsd",
    "ToModelGridd",
    "WindowInferer",
    "load_network",
    "prepare_batch",
    "write_bundle",
    "write_onnx",
]
