"""Stages, strides, kernels and sizes, against nnU-Net's published plans and for every grid."""

from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.planning.topology import topology

SIDES = st.tuples(*[st.integers(1, 300)] * 3)
SPACINGS = st.tuples(*[st.floats(0.3, 8.0)] * 3)


def test_the_hippocampus_gets_nnunets_patch_and_stages() -> None:
    made = topology((1.0, 1.0, 1.0), (35, 50, 36))

    assert made.size == (40, 56, 40)
    assert made.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert made.is_plain


def test_the_prostate_gets_nnunets_strides_and_kernels() -> None:
    made = topology((0.625, 0.625, 3.6), (320, 320, 20))

    assert made.size == (320, 320, 20)
    assert made.strides == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1), (2, 2, 1))
    assert made.kernels == ((3, 3, 1), (3, 3, 1), *[(3, 3, 3)] * 5)


def test_a_single_slice_is_neither_reduced_nor_convolved_across() -> None:
    made = topology((1.0, 1.0, 5.0), (64, 64, 1))

    assert made.size == (64, 64, 1)
    assert {stride[2] for stride in made.strides} == {1}
    assert {kernel[2] for kernel in made.kernels} == {1}


def test_tiny_studies_are_padded_until_there_are_two_stages() -> None:
    made = topology((1.0, 1.0, 1.0), (5, 6, 4))

    assert made.stages == 2
    assert max(made.size) == 8


@given(SPACINGS, SIDES)
@settings(max_examples=200, deadline=None)
def test_strides_divide_the_size_and_the_coarsest_map_keeps_cells(
    spacing: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    made = topology(spacing, shape)

    assert made.divisor == tuple(prod(stride[axis] for stride in made.strides) for axis in range(3))
    for axis in range(3):
        assert made.size[axis] % made.divisor[axis] == 0
        assert made.size[axis] >= shape[axis]
        assert made.divisor[axis] == 1 or made.size[axis] // made.divisor[axis] >= 4
    assert made.strides[0] == (1, 1, 1)
    assert made.stages == len(made.kernels) >= 2
