"""Studies an hour of medfuse beside a plain MONAI pipeline with the same weights, on one large CT.

    python tests/benchmarks/bench_score_speed.py --data ../shared/data [--studies 50] [--peer-studies 2] [--size quick]

The study is a CT of 512x512x300 voxels, made of the real slices of `ct-dicom` by reflection, as NIfTI. The network has
nnU-Net's default size; it is trained for some minutes to find air, bone and soft tissue on that CT, so that its answers
are those of a trained network, and kept in `--work`. The peer is LoadImage, Orientation, Spacing,
sliding_window_inference (Gaussian, overlap 0.5) in fp32, softmax, inverse Spacing, argmax, SaveImage: what the bundles
of MONAI's model zoo do. Each side runs in a process of its own, one study after the other; the first study of each is
not timed (it warms up, and medfuse chooses its engine in it). Peak memory is the process's peak resident size.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medfuse.domain import LabelSet
from medfuse.domain.volume import Quantity, Volume
from medfuse.ingest import find_studies, read_volume, write_nifti
from medfuse.model import ModelSpec, assemble
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess import Recipe, prepare_study
from medfuse.preprocess.intensity import Window
from medfuse.preprocess.rules import ChannelRule

SLICES = 300
LABELS = LabelSet(segments=("air", "bone", "soft_tissue"))
TARGET_RATIO, TARGET_DICE, TARGET_MEMORY, TARGET_REST = 4.0, 0.998, 0.5, 0.3


@dataclass(frozen=True)
class Size:
    """What is run.

    Args:
        spacing: Of the model grid, mm.
        window: Side of a window, voxels.
        features: Feature maps of the stages.
        steps: Steps of the training.
    """

    spacing: float
    window: int
    features: tuple[int, ...]
    steps: int


FULL = Size(spacing=1.5, window=96, features=(32, 64, 128, 256, 320), steps=150)
# It shows that the benchmark runs; its network learns too little for the Dice.
SMOKE = Size(spacing=6.0, window=32, features=(8, 16, 32), steps=30)
QUICK = Size(spacing=3.0, window=64, features=(16, 32, 64, 128), steps=150)
SIZES = {"full": FULL, "quick": QUICK, "smoke": SMOKE}


def main() -> None:
    """Make what is missing, run both sides, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="The folder of real data.")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-score-speed"), help="What is made is kept here.")
    parser.add_argument("--studies", type=int, default=3, help="Studies that medfuse scores, beside the first.")
    parser.add_argument("--peer-studies", type=int, default=1, help="Studies that the peer scores, beside the first.")
    parser.add_argument("--size", choices=tuple(SIZES), default="full", help="quick: a small network, a coarse grid.")
    parser.add_argument("--side", choices=("medfuse", "monai"), help="Run one side alone and print JSON.")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    told = parser.parse_args()
    work, size = told.work / told.size, SIZES[told.size]
    if told.side:
        run = medfuse_side if told.side == "medfuse" else monai_side
        sys.stdout.write(json.dumps(run(work, size, told)) + "\n")
        return
    work.mkdir(parents=True, exist_ok=True)
    make_ct(told.data, work / "ct")
    train(work, size)
    ours, peer = (_side(name) for name in ("medfuse", "monai"))
    report(ours, peer, dice_between(work / "medfuse.nii.gz", work / "monai.nii.gz"))


def _side(name: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--side", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_ct(data: Path, folder: Path) -> None:
    """Write the CT, 1 mm slices, unless it is there."""
    if (folder / "ct.nii.gz").is_file():
        return
    (study,) = find_studies(data / "ct-dicom").studies
    volume = read_volume(study.series[0])
    slices = volume.voxels.shape[2]
    order = np.abs((np.arange(SLICES) + slices - 1) % (2 * (slices - 1)) - (slices - 1))
    noise = np.random.default_rng(0).normal(0, 5, (*volume.voxels.shape[:2], SLICES)).astype(np.float32)
    voxels = np.rint(volume.voxels[..., order] + noise).astype(np.int16)
    matrix = volume.geometry.affine.matrix.copy()
    matrix[:3, 2] /= np.linalg.norm(matrix[:3, 2])
    folder.mkdir(parents=True, exist_ok=True)
    geometry = type(volume.geometry)(shape=voxels.shape, affine=type(volume.geometry.affine)(matrix))
    made = Volume(voxels=voxels, geometry=geometry, quantity=Quantity.HOUNSFIELD)
    write_nifti(made, folder / "ct.nii.gz", dtype=np.dtype(np.int16))


def recipe_of(size: Size) -> Recipe:
    """The recipe of a size."""
    channel = ChannelRule(name="ct", window=Window(low=-1000.0, high=400.0))
    return Recipe(channels=(channel,), spacing_mm=(size.spacing,) * 3, size=(size.window,) * 3)


def train(work: Path, size: Size) -> None:
    """Train the network on blocks of the CT, by what its intensities say, unless it is there."""
    if (work / "run" / "checkpoint.json").is_file():
        return
    recipe = recipe_of(size)
    spec = ModelSpec(image="dynunet", text=None, image_options={"features": list(size.features)})
    (study,) = find_studies(work / "ct").studies
    image = torch.from_numpy(prepare_study(study, recipe).image)
    truth = truth_of(image[0])
    torch.manual_seed(0)
    network = assemble(spec, LABELS, 1).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    side = min(48, size.window)
    for step in range(size.steps):
        starts = [torch.randint(0, n - side, (2,)).tolist() for n in truth.shape]
        places = [tuple(slice(s, s + side) for s in start) for start in zip(*starts, strict=True)]
        block = torch.stack([image[(slice(None), *place)] for place in places])
        wanted = torch.stack([truth[place] for place in places])
        from medfuse.inference.engines.graph import window_batch

        one = torch.ones((2, 1), dtype=torch.bool)
        batch = window_batch(block, one, torch.ones(2), torch.zeros((2, 1), dtype=torch.bool), ~one[:, 0])
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(batch).segment_logits
        loss = torch.nn.functional.cross_entropy(scores, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            sys.stderr.write(f"training step {step}: loss {loss.item():.3f}\n")
    described = Checkpoint(name="bench", label_set=LABELS, recipe=recipe, spec=spec)
    checkpoints.save(described, network.eval(), work / "run")


def truth_of(image: torch.Tensor) -> torch.Tensor:
    """Classes by intensity of the smoothed image: 1 air, 2 bone, 3 soft tissue; the rest (fat, skin) is background."""
    smooth = torch.nn.functional.avg_pool3d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    hounsfield = (smooth + 1) * 700 - 1000
    truth = torch.zeros(image.shape, dtype=torch.long)
    truth[hounsfield < -400] = 1
    truth[hounsfield > 150] = 2
    truth[(hounsfield > -10) & (hounsfield <= 150)] = 3
    return truth


def medfuse_side(work: Path, size: Size, told: argparse.Namespace) -> dict[str, Any]:
    """Score the CT again and again; seconds by stage."""
    from medfuse.inference import Predictor
    from medfuse.outputs.nifti import write_nifti as write_label_map

    predictor = Predictor.from_checkpoint(work / "run", engine=told.engine, precision=told.precision)
    (study,) = find_studies(work / "ct").studies
    stages: list[dict[str, float]] = []
    begun = 0.0
    for number in range(told.studies + 1):
        if number == 1:
            begun = time.perf_counter()
        scored = predictor.predict(study)
        saving = time.perf_counter()
        assert scored.segmentation is not None
        write_label_map(scored.segmentation, work / "medfuse.nii.gz")
        stages.append({**scored.prediction.timings, "save": time.perf_counter() - saving})
    seconds = (time.perf_counter() - begun) / told.studies
    mean = {name: float(np.mean([one[name] for one in stages[1:]])) for name in stages[0]}
    return {"seconds": seconds, "stages": mean, "peak": peak_bytes(), "engine": " ".join(predictor.engine_lines)}


def monai_side(work: Path, size: Size, told: argparse.Namespace) -> dict[str, Any]:
    """The plain pipeline over the same CT; seconds by stage."""
    from monai.inferers import sliding_window_inference
    from monai.transforms import (
        Activationsd,
        AsDiscreted,
        Compose,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    from medfuse.export import load_network

    network = load_network(str(work / "run"))
    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="LPS", labels=None),
            Spacingd("image", pixdim=(size.spacing,) * 3, mode="bilinear"),
            ScaleIntensityRanged("image", a_min=-1000, a_max=400, b_min=-1, b_max=1, clip=True),
        ]
    )
    after = Compose(
        [
            Activationsd("pred", softmax=True),
            Invertd("pred", transform=before, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", argmax=True),
            SaveImaged(
                "pred",
                output_dir=str(work / "peer"),
                output_postfix="",
                separate_folder=False,
                output_dtype=np.uint8,
                print_log=False,
            ),
        ]
    )
    stages: list[dict[str, float]] = []
    begun = 0.0
    for number in range(told.peer_studies + 1):
        if number == 1:
            begun = time.perf_counter()
        started = time.perf_counter()
        data = before({"image": str(work / "ct" / "ct.nii.gz")})
        prepared = time.perf_counter()
        with torch.inference_mode():
            data["pred"] = sliding_window_inference(
                data["image"][None], (size.window,) * 3, 2, network, overlap=0.5, mode="gaussian"
            )[0]
        answered = time.perf_counter()
        after(data)
        ended = time.perf_counter()
        stages.append({"preprocess": prepared - started, "network": answered - prepared, "restore": ended - answered})
    (work / "peer" / "ct.nii.gz").replace(work / "monai.nii.gz")
    seconds = (time.perf_counter() - begun) / told.peer_studies
    mean = {name: float(np.mean([one[name] for one in stages[1:]])) for name in stages[0]}
    return {"seconds": seconds, "stages": mean, "peak": peak_bytes()}


def peak_bytes() -> int:
    """Largest resident size of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def dice_between(one: Path, other: Path) -> dict[str, float]:
    """Dice of each segment between two label maps."""
    import nibabel as nib

    a, b = (np.asarray(nib.load(path).dataobj).squeeze() for path in (one, other))  # type: ignore[attr-defined]
    found = {}
    for number, name in enumerate(LABELS.segments, start=1):
        x, y = a == number, b == number
        found[name] = float(2 * (x & y).sum() / max(1, x.sum() + y.sum()))
    return found


def report(ours: dict[str, Any], peer: dict[str, Any], dice: dict[str, float]) -> None:
    """Print the figures beside their targets."""
    rest = 1 - ours["stages"]["network"] / sum(ours["stages"].values())
    rows = [
        ("studies an hour, medfuse", f"{3600 / ours['seconds']:.1f}", ""),
        ("studies an hour, MONAI", f"{3600 / peer['seconds']:.1f}", ""),
        ("ratio", f"{peer['seconds'] / ours['seconds']:.2f}", f"at least {TARGET_RATIO:g}"),
        ("Dice between them", ", ".join(f"{n} {d:.4f}" for n, d in dice.items()), f"at least {TARGET_DICE}"),
        ("peak memory, share of MONAI's", f"{ours['peak'] / peer['peak']:.2f}", f"at most {TARGET_MEMORY}"),
        ("all but the network", f"{rest:.2f}", f"at most {TARGET_REST}"),
        ("peak GiB, medfuse and MONAI", f"{ours['peak'] / 2**30:.2f}, {peer['peak'] / 2**30:.2f}", ""),
        *((f"medfuse {name}, s", f"{seconds:.2f}", "") for name, seconds in ours["stages"].items()),
        *((f"MONAI {name}, s", f"{seconds:.2f}", "") for name, seconds in peer["stages"].items()),
    ]
    for name, value, target in rows:
        sys.stdout.write(f"{name:32}{value:>40}   {target}\n")
    sys.stdout.write(f"{ours['engine']}\n")


if __name__ == "__main__":
    main()
