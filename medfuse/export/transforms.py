"""The steps of a bundle before and after the network: medfuse's own, as MONAI's dictionary transforms.

Images come as MONAI loads them: channel first, with an affine in RAS mm.
"""

import json
from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged
from numpy.typing import NDArray

from medfuse.domain import Affine, Segment, Segmentation, VolumeGeometry
from medfuse.errors import MissingInputError
from medfuse.export.inferer import WindowInferer
from medfuse.inference.restore import restore
from medfuse.ingest.reports.reading import read_report
from medfuse.model import checkpoint as checkpoints
from medfuse.outputs.nifti import write_nifti
from medfuse.preprocess.grid import model_grid, resample
from medfuse.preprocess.intensity import background, normalise
from medfuse.storage import write_file

SOURCE_AFFINE, SOURCE_SHAPE = "source_affine", "source_shape"

Data = Mapping[Hashable, Any]


class ToModelGridd(MapTransform):
    """Brings the channels of an image onto the model grid and into the network's range.

    It adds `source_affine` (RAS mm) and `source_shape`, by which `FromModelGridd` finds the way back.

    Args:
        keys: Of the image, shape `(C, I, J, K)`: the model's channels in order, on one grid.
        checkpoint: The checkpoint's folder.
    """

    def __init__(self, keys: KeysCollection, checkpoint: str) -> None:
        super().__init__(keys)
        self.recipe = checkpoints.describe(Path(checkpoint)).recipe

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The data with the image on the model grid.

        Raises:
            MissingInputError: The image has another number of channels than the model.
        """
        changed = dict(data)
        for key in self.key_iterator(changed):
            image = changed[key]
            channels = self.recipe.channels
            if len(image) != len(channels):
                names = ", ".join(rule.name for rule in channels)
                raise MissingInputError(
                    f"the image has {len(image)} channels; the model takes {len(channels)} on one grid: {names}",
                    reason="NO_FITTING_SERIES",
                )
            source = _geometry(image.affine, image.shape[1:])
            grid = model_grid(source, self.recipe.spacing_mm)
            voxels = np.stack(
                [_channel(np.asarray(v), source, grid, rule.window) for v, rule in zip(image, channels, strict=True)]
            )
            meta = {name: image.meta[name] for name in ("filename_or_obj", "spatial_shape") if name in image.meta}
            affine = torch.from_numpy(grid.affine.to_ras())
            changed[key] = MetaTensor(torch.from_numpy(voxels), affine=affine, meta=meta)
            changed[SOURCE_AFFINE] = torch.from_numpy(source.affine.to_ras())
            changed[SOURCE_SHAPE] = torch.tensor(source.shape)
        return changed


class ReadReportd(MapTransform):
    """Reads the sections of a report that the model may see, as `text`.

    Args:
        keys: Of the report's path; where there is no such file, the study counts as without text.
        checkpoint: The checkpoint's folder.
    """

    def __init__(self, keys: KeysCollection, checkpoint: str) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.recipe = checkpoints.describe(Path(checkpoint)).recipe

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The data with `text`."""
        changed = dict(data)
        changed["text"] = ""
        for key in self.key_iterator(changed):
            path = Path(changed[key])
            if path.is_file():
                changed["text"] = read_report(path).select(self.recipe.text_sections)
        return changed


class FromModelGridd(MapTransform):
    """Turns class probabilities on the model grid into a label map on the image's own grid.

    Args:
        keys: Of the probabilities, shape `(S1, I, J, K)`.
        image: Key of the image that `ToModelGridd` prepared.
        checkpoint: The checkpoint's folder.
    """

    def __init__(self, keys: KeysCollection, image: str, checkpoint: str) -> None:
        super().__init__(keys)
        self.image = image
        self.label_set = checkpoints.describe(Path(checkpoint)).label_set

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The data with a `uint8` label map, shape `(1, I, J, K)`."""
        changed = dict(data)
        image = changed[self.image]
        source = _geometry(changed[SOURCE_AFFINE], changed[SOURCE_SHAPE].tolist())
        for key in self.key_iterator(changed):
            scores = np.ascontiguousarray(torch.as_tensor(changed[key]).float().cpu().numpy())
            grid = _geometry(image.affine, scores.shape[1:])
            label_map = np.array(restore(scores, grid, source, self.label_set).label_map)
            affine = torch.as_tensor(changed[SOURCE_AFFINE])
            meta = {"filename_or_obj": image.meta.get("filename_or_obj", ""), "original_affine": affine}
            changed[key] = MetaTensor(torch.from_numpy(label_map)[None], affine=affine, meta=meta)
        return changed


class SaveResultsd(SaveImaged):
    """Writes the label map of an image as `<name>_seg.nii.gz`, and what was found as `<name>_findings.json`.

    MONAI's own writer refuses the affines of sagittal and coronal images. It is a `SaveImaged` all the same, for
    MONAI Label leaves those out and writes label maps itself.

    Args:
        keys: Of the label map that `FromModelGridd` made.
        inferer: The one that has just read the image.
        output_dir: Where the files go.
        checkpoint: The checkpoint's folder.
    """

    def __init__(self, keys: KeysCollection, inferer: WindowInferer, output_dir: str, checkpoint: str) -> None:
        super().__init__(keys=keys, output_dir=output_dir)
        self.inferer = inferer
        self.folder = Path(output_dir)
        self.label_set = checkpoints.describe(Path(checkpoint)).label_set

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """The data as it was.

        Raises:
            StorageError: A file cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in self.key_iterator(dict(data)):
            label_map = data[key]
            name = Path(str(label_map.meta.get("filename_or_obj", "image"))).name.removesuffix(".gz")
            name = name.removesuffix(".nii")
            segments = tuple(Segment(number=n, name=one) for n, one in enumerate(self.label_set.segments, start=1))
            geometry = _geometry(label_map.affine, label_map.shape[1:])
            voxels = torch.as_tensor(label_map[0]).cpu().numpy().astype(np.uint8)
            segmentation = Segmentation(label_map=voxels, geometry=geometry, segments=segments)
            write_nifti(segmentation, self.folder / f"{name}_seg.nii.gz")
            self._write_findings(self.folder / f"{name}_findings.json")
        return dict(data)

    def _write_findings(self, path: Path) -> None:
        answer = self.inferer.answer
        if answer is None or not (answer.findings or answer.targets):
            return
        told = {
            "findings": {finding.name: finding.probability for finding in answer.findings},
            "targets": {one.name: {"probabilities": one.probabilities, "value": one.value} for one in answer.targets},
            "research_use_only": True,
        }
        write_file(path, partial(_write_text, json.dumps(told, indent=1)))


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _geometry(affine_ras: Any, shape: Any) -> VolumeGeometry:
    i, j, k = (int(n) for n in shape)
    return VolumeGeometry(shape=(i, j, k), affine=Affine.from_ras(np.asarray(affine_ras, dtype=np.float64)))


def _channel(voxels: NDArray[Any], source: VolumeGeometry, grid: VolumeGeometry, window: Any) -> NDArray[np.float32]:
    outside = background(window) if window else float(voxels.min())
    return normalise(resample(voxels, source, grid, outside=outside), window)
