import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse.inference.ranked import RANKS, RankedBlend, RankedScores, carried_axis, mean_ranked, passing_order
from medfuse.inference.sliding_window import Blend, Index, window_starts

SIZE = (16, 16, 16)


@pytest.mark.parametrize("shape", [(20, 25, 10), (33, 16, 50), (5, 40, 17)])
def test_the_highest_classes_are_those_of_the_whole_blend(shape: Index) -> None:
    whole, ranked = _both(shape, classes=5)
    scores = whole.mean()
    found = ranked.mean()
    assert not ranked._cells
    dense = found.dense(slice(None)).numpy()
    kept = np.sort(scores, axis=0)[-RANKS:].sum(axis=0)
    np.testing.assert_allclose(dense.sum(axis=0), kept, atol=0.01)
    assert (np.where(dense > 0, np.abs(dense - scores), 0)).max() < 0.004
    assert (found.ranked[0] == scores.argmax(axis=0)).mean() > 0.99


def test_a_class_is_found_at_the_rank_where_it_stands() -> None:
    scores = RankedScores.empty(4, (1, 1, 2))
    scores.put((slice(None),) * 3, torch.tensor([[0.5, 1.0], [0.0, 0.0], [0.2, 0.0], [0.3, 0.0]]).reshape(4, 1, 1, 2))
    assert scores.ranked[:, 0, 0, 0].tolist() == [0, 3, 2]
    assert scores.of_class(3)[0, 0].tolist() == pytest.approx([0.3, 0.0], abs=1e-3)
    assert scores.of_class(0)[0, 0].tolist() == pytest.approx([0.5, 1.0], abs=1e-3)
    assert scores.of_class(1).max() == 0


def test_members_are_averaged_class_by_class() -> None:
    one, other = RankedScores.empty(3, (3, 2, 2)), RankedScores.empty(3, (3, 2, 2))
    everywhere = (slice(None),) * 3
    one.put(everywhere, torch.tensor([0.1, 0.7, 0.2]).reshape(3, 1, 1, 1).repeat(1, 3, 2, 2))
    other.put(everywhere, torch.tensor([0.0, 0.1, 0.9]).reshape(3, 1, 1, 1).repeat(1, 3, 2, 2))
    mean = mean_ranked([one, other])
    np.testing.assert_allclose(mean.dense(slice(0, 1))[:, 0, 0, 0], [0.05, 0.4, 0.55], atol=1e-3)
    assert (mean.ranked[0] == 2).all()
    assert mean_ranked([one]) is one


def test_windows_pass_along_the_axis_of_the_most_windows_last() -> None:
    shape = (20, 25, 64)
    assert carried_axis(shape, SIZE) == 2
    ordered = passing_order(window_starts(shape, SIZE), shape, SIZE)
    assert [start[2] for start in ordered] == sorted(start[2] for start in ordered)
    assert sorted(ordered) == sorted(window_starts(shape, SIZE))


def test_what_is_under_way_is_a_part_of_the_grid() -> None:
    shape, classes = (32, 32, 160), 40
    starts = passing_order(window_starts(shape, SIZE), shape, SIZE)
    blend = RankedBlend.over(classes, shape, SIZE, starts)
    most = 0
    window = torch.full((classes, *SIZE), 1 / classes)
    for start in starts:
        blend.add(window, start)
        most = max(most, sum(cell.total.nbytes for cell in blend._cells.values()))
    assert most < 0.15 * 4 * classes * np.prod(shape)
    assert not blend._cells


@pytest.mark.slow
def test_a_hundred_classes_take_less_than_their_floats_would(checkout: Path) -> None:
    # In a process of its own: its peak is what is measured. The benchmark alone runs the size of a whole-body CT.
    command = [sys.executable, "tests/benchmarks/bench_many_classes.py", "--shape", "256", "256", "300"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "label map right" in done.stdout
    peak, whole = (float(found) for found in re.findall(r"([0-9.]+) GiB", done.stdout))
    assert peak < 0.65 * whole


def _both(shape: Index, classes: int) -> tuple[Blend, RankedBlend]:
    starts = window_starts(shape, SIZE)
    whole, ranked = Blend.over(classes, shape), RankedBlend.over(classes, shape, SIZE, starts)
    generator = torch.Generator().manual_seed(0)
    for start in starts:
        scores = (torch.randn((classes, *SIZE), generator=generator) * 2).softmax(dim=0)
        whole.add(scores, start)
        ranked.add(scores, start)
    return whole, ranked
