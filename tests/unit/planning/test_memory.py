"""The memory estimate: monotone, and near what torch keeps for the way back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.encoders.image import DynUNetEncoder
from medfuse.heads import SegmentationHead
from medfuse.planning.memory import BYTES_A_WEIGHT, GIB, features_of, training_gib
from medfuse.planning.topology import Topology, topology


def gib(shape: Topology, base: int = 16, batch: int = 2, classes: int = 3, blocks: int = 1) -> float:
    features = features_of(shape.stages, base)
    return training_gib(shape, features, (blocks,) * shape.stages, channels=1, classes=classes, batch=batch)


@given(st.tuples(*[st.integers(4, 20)] * 3), st.integers(0, 2), st.integers(1, 8), st.sampled_from([8, 16, 32]))
@settings(max_examples=50, deadline=None)
def test_more_of_anything_takes_more(cells: tuple[int, int, int], axis: int, batch: int, base: int) -> None:
    strides = ((1, 1, 1), (2, 2, 2), (2, 2, 2))
    small = Topology(size=tuple(4 * n for n in cells), strides=strides, kernels=((3, 3, 3),) * 3)
    longer = tuple(4 * (n + (place == axis)) for place, n in enumerate(cells))
    large = Topology(size=longer, strides=strides, kernels=((3, 3, 3),) * 3)

    assert gib(small, base, batch) < gib(large, base, batch)
    assert gib(small, base, batch) < gib(small, base, batch + 1)
    assert gib(small, base, batch) < gib(small, 2 * base, batch)
    assert gib(small, base, batch, classes=0) < gib(small, base, batch)
    assert gib(small, base, batch) < gib(small, base, batch, blocks=2)


@pytest.mark.parametrize(("spacing", "size"), [((1.0, 1.0, 1.0), (32, 32, 32)), ((1.0, 1.0, 5.0), (40, 40, 8))])
def test_it_is_near_what_torch_keeps(spacing: tuple[float, float, float], size: tuple[int, int, int]) -> None:
    shape = topology(spacing, size)
    features = features_of(shape.stages, 16)
    encoder = DynUNetEncoder(1, 64, features=features, strides=shape.strides, kernels=shape.kernels, residual=True)
    head = SegmentationHead(encoder.out_channels, encoder.strides, 64, classes=3)
    parameters = [parameter for part in (encoder, head) for parameter in part.parameters()]
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        head(encoder(torch.randn(2, 1, *shape.size), torch.ones(2, 1, dtype=torch.bool)))
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    measured += BYTES_A_WEIGHT * sum(parameter.numel() for parameter in parameters)

    assert 0.95 < gib(shape) * GIB / measured < 1.5
