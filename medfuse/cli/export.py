"""`medfuse export`: a checkpoint as a MONAI bundle or an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from medfuse.errors import UsageError


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Run folder, or its best/ or last/.", show_default=False)],
    bundle: Annotated[Path | None, typer.Option(help="Folder for a MONAI bundle.", show_default=False)] = None,
    onnx: Annotated[Path | None, typer.Option(help="File for the network as ONNX.", show_default=False)] = None,
) -> None:
    """Write a trained model for other tools: a MONAI bundle, an ONNX file, or both.

    The bundle runs with `python -m monai.bundle run`, and has the layout that MONAI Label and MONAI Deploy take; it
    uses medfuse, so its label maps are those of medfuse score. The ONNX file holds the network for one window, without
    the text encoder, and is held against PyTorch before it counts as written.

    Raises:
        UsageError: Neither is asked for, the run is a cross-validation, or the model cannot be exported so.
        CheckpointError: There is no checkpoint, or it is broken.
        StorageError: It cannot be written.
    """
    if bundle is None and onnx is None:
        raise UsageError("medfuse export writes nothing without --bundle FOLDER or --onnx FILE")

    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with console.status("loading the model"):
        from medfuse.export import write_bundle, write_onnx
        from medfuse.model import checkpoint as checkpoints

        places = checkpoints.members(checkpoint)
    if len(places) > 1:
        raise UsageError(f"{checkpoint} is a cross-validation of {len(places)} runs; export one of them: {places[0]}")
    if bundle is not None:
        with console.status("writing the bundle"):
            write_bundle(places[0], bundle)
        console.print(
            f"bundle: {bundle}; run it from there: python -m monai.bundle run --config_file configs/inference.json"
        )
    if onnx is not None:
        with console.status("writing ONNX"):
            differs = write_onnx(places[0], onnx)
        checked = "not held against PyTorch, for onnxruntime is not installed"
        if differs is not None:
            checked = (
                f"differs from PyTorch by at most {differs.probability:.1e} (findings), {differs.score:.1e} (voxels)"
            )
        console.print(f"onnx: {onnx}; {checked}")
