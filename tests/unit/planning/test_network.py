"""Spacing, size, batch and network for data of many kinds."""

from math import prod
from typing import Any

import pytest

from medfuse.planning import Device
from medfuse.planning.network import Asked, NetworkPlan, plan_network
from tests.unit.planning.fingerprints import CPU, GPU, fingerprint

ABDOMEN = [((0.8, 0.8, 2.5), (512, 512, 180)), ((0.7, 0.7, 5.0), (512, 512, 90)), ((0.9, 0.9, 1.0), (512, 512, 450))]


def planned(grids: Any, *, device: Device = CPU, memory: float | None = None, **asked: Any) -> NetworkPlan:
    told = Asked(**{"device": device, "memory_gib": memory, "channels": 1, "segments": 1, "whole": False} | asked)
    return plan_network(fingerprint(grids, segments={"organ": 300.0}), told, training_studies=64)


def test_small_isotropic_studies_fit_whole() -> None:
    made = planned([((1.0, 1.0, 1.0), (35, 50, 36))])

    assert (made.spacing_mm, made.shape.size, made.batch) == ((1.0, 1.0, 1.0), (40, 56, 40), 2)
    assert made.features == (16, 32, 64, 128)
    assert made.whole_share == 1
    assert not made.is_flat


def test_thick_slices_keep_their_axis_and_are_turned_in_plane_only() -> None:
    made = planned([((0.6, 0.6, 4.0), (320, 320, 20)), ((0.6, 0.6, 3.0), (320, 320, 24))], memory=8.0)

    assert made.coarse_axis == 2
    assert made.spacing_mm == (0.6, 0.6, 3.0)
    assert made.is_flat
    assert made.shape.strides[1] == (2, 2, 1)
    assert made.gib <= 8.0


@pytest.mark.parametrize("memory", [0.2, 0.5, 2.0, 8.0])
@pytest.mark.parametrize("grids", [ABDOMEN, [((0.6, 0.6, 4.0), (320, 320, 20))], [((1.0, 1.0, 1.0), (240, 240, 155))]])
def test_a_step_fits_into_the_memory_and_strides_divide_the_size(grids: Any, memory: float) -> None:
    made = planned(grids, memory=memory)

    assert made.gib <= memory
    assert all(n % step == 0 for n, step in zip(made.shape.size, made.shape.divisor, strict=True))


def test_more_memory_gives_no_smaller_input() -> None:
    sizes = [prod(planned(ABDOMEN, memory=memory).shape.size) for memory in (0.3, 0.6, 1.2, 2.4, 4.8)]

    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_findings_want_a_study_whole_but_not_at_the_cost_of_a_small_segment() -> None:
    fine = planned(ABDOMEN, memory=8.0)
    whole = planned(ABDOMEN, memory=8.0, whole=True)
    told = Asked(device=CPU, memory_gib=8.0, channels=1, segments=1, whole=True)
    small = plan_network(fingerprint(ABDOMEN, segments={"nodule": 1.0}), told, training_studies=64)

    assert fine.spacing_mm == fine.data_spacing_mm == (0.8, 0.8, 2.5)
    assert whole.was_coarsened
    assert whole.whole_share > fine.whole_share
    assert max(whole.spacing_mm) / max(whole.data_spacing_mm) <= 4
    assert max(small.spacing_mm) <= 2.5


def test_findings_widen_the_input_where_a_median_one_shows_too_few_studies_whole() -> None:
    sizes = [((1.0, 1.0, 1.0), (n, n, n)) for n in (32, 32, 32, 40, 40, 40, 48, 48, 48, 120)]

    assert planned(sizes).shape.size == (40, 40, 40)
    assert planned(sizes, whole=True).shape.size == (56, 56, 56)
    assert planned(sizes, whole=True).whole_share == 0.9
    assert planned(sizes, whole=True, memory=0.1).gib <= 0.1


def test_a_gpu_gets_the_residual_encoder_and_a_batch_that_fills_it() -> None:
    made = planned([((1.0, 1.0, 1.0), (35, 50, 36))], device=GPU)

    assert made.asked.encoder == "resenc"
    assert made.asked.blocks(made.shape.stages) == (1, 3, 4, 6)
    assert made.batch == 2  # 5 % of 64 studies is 3 of 40 x 56 x 40 less the padding
    assert planned([((1.0, 1.0, 1.0), (128, 128, 128))], device=GPU).gib <= 0.8 * GPU.memory_gib


def test_bf16_takes_about_half_the_memory() -> None:
    half = Device(kind="cpu", memory_gib=16.0, cores=2, bf16=True)

    assert planned(ABDOMEN, device=half, memory=1.0).shape.size >= planned(ABDOMEN, memory=1.0).shape.size
