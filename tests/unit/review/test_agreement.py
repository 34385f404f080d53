"""Agreement and drift: the figures of outside libraries, intervals that hold them, and the studies behind them."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from medfuse.domain import LabelValue, Shown, Verdict
from medfuse.errors import UsageError
from medfuse.review import local_reader
from medfuse.review.agreement import agreement_of, cohen, fleiss, window_of
from medfuse.review.drift import stability_index
from medfuse.review.ratings import MODEL, Rating, model_call, reader_value
from tests.unit.review.rooms import EFFUSION, NODULE, OUTLINE, desk_of, handle_of, prediction, write_results

P, A, U = LabelValue.PRESENT, LabelValue.ABSENT, LabelValue.UNCERTAIN


def rating(number: int, day: str = "2026-01-05", **values: LabelValue) -> Rating:
    return Rating(
        handle=f"h{number}",
        title=f"A{number}",
        patient=f"p{number}",
        finding="nodule",
        values=values,
        decided_at=f"{day}T12:00:00+00:00",
    )


def drawn(n: int, seed: int) -> list[LabelValue]:
    return [(P, A, U)[k] for k in np.random.default_rng(seed).choice(3, size=n, p=(0.5, 0.4, 0.1))]


@pytest.mark.parametrize("seed", range(5))
def test_cohens_kappa_is_that_of_scikit_learn(seed: int) -> None:
    first, second = drawn(60, seed), drawn(60, seed + 100)
    second = [a if n % 3 else b for n, (a, b) in enumerate(zip(first, second, strict=True))]
    found = cohen(first, second, [str(n) for n in range(60)], 200)
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_fleiss_kappa_is_that_of_the_paper() -> None:
    """Fleiss 1971 as worked through in many textbooks: 10 subjects, 14 raters, 5 categories fold into kappa 0.210."""
    votes = np.array(
        [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ],
        dtype=float,
    )
    found = fleiss(votes, [str(n) for n in range(10)], 200)
    assert found.value == pytest.approx(0.210, abs=0.001)
    assert found.low is not None
    assert found.low < 0.210


def test_resampled_figures_are_those_of_the_library() -> None:
    """The quick figure of a resample is the figure that the library gives for the same cases."""
    from medfuse.review.agreement import _cohen_of

    first, second = drawn(40, 1), drawn(40, 2)
    table = np.zeros(9)
    for a, b in zip(first, second, strict=True):
        table[(P, A, U).index(a) * 3 + (P, A, U).index(b)] += 1
    assert _cohen_of(table[None])[0] == pytest.approx(cohen_kappa_score(first, second))


def test_intervals_draw_patients() -> None:
    first, second = drawn(40, 3), drawn(40, 4)
    alone = cohen(first, second, [str(n) for n in range(40)], 400)
    paired = cohen(first * 2, second * 2, [str(n) for n in range(40)] * 2, 400)
    assert (alone.low, alone.high) == pytest.approx((paired.low, paired.high))
    assert paired.patients == 40


def test_agreement_by_chance_alone_is_undefined_not_perfect() -> None:
    found = cohen([P, P, P], [P, P, P], ["a", "b", "c"], 50)
    assert (found.value, found.low) == (None, None)
    assert "everybody said the same" in found.reason


def test_pairs_groups_and_disagreements_of_a_room(tmp_path: Path) -> None:
    desk = desk_of(write_results(tmp_path, *(prediction(n, 0.9 if n % 2 else 0.1) for n in range(1, 9))))
    readers = {name: desk.room.desk(local_reader(name)) for name in ("Dr. Ames", "Dr. Bell")}
    for n in range(1, 9):
        handle = handle_of(desk, n)
        readers["Dr. Ames"].decide(handle, NODULE, None, value="PRESENT" if n % 2 else "ABSENT", shown=Shown.BLIND)
        readers["Dr. Bell"].decide(handle, NODULE, Verdict.REJECTED if n <= 2 else Verdict.ACCEPTED)
    readers["Dr. Bell"].decide(handle_of(desk, 1), OUTLINE, Verdict.REJECTED)
    readers["Dr. Bell"].decide(handle_of(desk, 1), EFFUSION, Verdict.UNSURE)
    found = desk.agreement(draws=100)
    pairs = {(p.first, p.second, p.finding): p for p in found.pairs}
    assert set(pairs) == {
        (MODEL, "Dr. Ames", "lung_nodule"),
        (MODEL, "Dr. Bell", "lung_nodule"),
        ("Dr. Ames", "Dr. Bell", "lung_nodule"),
        (MODEL, "Dr. Bell", "effusion"),
    }
    assert (pairs[MODEL, "Dr. Ames", "lung_nodule"].kappa, pairs[MODEL, "Dr. Ames", "lung_nodule"].blind_share) == (
        1,
        1,
    )
    assert pairs[MODEL, "Dr. Bell", "lung_nodule"].kappa == pytest.approx(0.5)
    assert pairs[MODEL, "Dr. Bell", "lung_nodule"].blind_share == 0
    assert pairs["Dr. Ames", "Dr. Bell", "lung_nodule"].blind_share is None
    (group,) = found.groups
    assert (group.finding, group.readers, group.n, group.n_readers) == ("lung_nodule", ("Dr. Ames", "Dr. Bell"), 8, 2)
    listed = {(one.title, one.finding): dict(one.values) for one in found.disagreements}
    assert listed == {
        ("A1", "lung_nodule"): {MODEL: P, "Dr. Ames": P, "Dr. Bell": A},
        ("A2", "lung_nodule"): {MODEL: A, "Dr. Ames": A, "Dr. Bell": P},
        ("A1", "effusion"): {MODEL: A, "Dr. Bell": U},
    }
    assert all(desk.case(one.handle).title == one.title for one in found.disagreements)


def test_withdrawn_decisions_do_not_count(tmp_path: Path) -> None:
    desk = desk_of(write_results(tmp_path, prediction(1, 0.9)))
    handle = handle_of(desk, 1)
    desk.decide(handle, NODULE, Verdict.REJECTED)
    desk.undo(handle)
    assert desk.agreement().pairs == ()


def test_over_time_and_between_days() -> None:
    ratings = [
        *(rating(n, "2026-01-05", model=P, a=P) for n in range(2)),
        *(rating(n, "2026-02-05", model=A, a=P) for n in range(2, 5)),
    ]
    found = agreement_of(ratings, window="month", draws=20)
    assert {(p.window, p.n, p.observed) for p in found.pairs} == {
        ("", 5, 0.4),
        ("2026-01", 2, 1.0),
        ("2026-02", 3, 0.0),
    }
    assert {p.n for p in agreement_of(ratings, since="2026-02-01", draws=20).pairs} == {3}
    assert {p.n for p in agreement_of(ratings, until="2026-01-05", draws=20).pairs} == {2}
    assert len(agreement_of(ratings, since="2026-02-01").disagreements) == 3
    for wrong in ({"window": "year"}, {"since": "yesterday"}):
        with pytest.raises(UsageError):
            agreement_of(ratings, **wrong)  # type: ignore[arg-type]


def test_fleiss_counts_studies_that_every_reader_rated() -> None:
    ratings = [rating(n, a=P if n else A, b=P if n else A, c=P if n else A) for n in range(4)]
    ratings.append(rating(9, a=P, b=A))
    (group,) = agreement_of(ratings, draws=50).groups
    assert (group.n, group.n_readers, group.kappa) == (4, 3, 1.0)


def test_windows() -> None:
    assert window_of("2026-01-01T00:00:00+00:00", "week") == "2026-W01"
    assert window_of("2027-01-02T00:00:00+00:00", "week") == "2026-W53"
    assert window_of("2026-01-01", "month") == "2026-01"
    assert window_of("never", "month") == ""


@pytest.mark.parametrize(
    ("verdict", "value", "call", "expected"),
    [
        (Verdict.ACCEPTED, "", P, P),
        (Verdict.REJECTED, "", P, A),
        (Verdict.REJECTED, "", A, P),
        (Verdict.REJECTED, "UNCERTAIN", P, U),
        (Verdict.UNSURE, "", P, U),
        (Verdict.ACCEPTED, "", None, None),
        (None, "ABSENT", None, A),
    ],
)
def test_what_a_reader_holds_to_be_right(
    verdict: Verdict | None, value: str, call: LabelValue | None, expected: LabelValue | None
) -> None:
    from medfuse.domain import Review

    review = Review(
        study_instance_uid="1", subject="nodule", verdict=verdict, value=value, reviewer="a", created_at="2026"
    )
    assert reader_value(review, call) is expected


def test_the_models_call() -> None:
    assert [model_call(0.3, 0.2), model_call(0.2, 0.2), model_call(0.3, None), model_call(0.5, None)] == [P, P, A, P]


class TestDrift:
    def test_a_shift_is_drift_and_chance_is_none(self, tmp_path: Path) -> None:
        chance, shift = np.random.default_rng(0), np.random.default_rng(1)
        studies = [
            *(
                prediction(n, p, created_at="2026-01-10T00:00:00+00:00")
                for n, p in enumerate(chance.uniform(0, 0.5, 60))
            ),
            *(
                prediction(100 + n, p, created_at="2026-02-10T00:00:00+00:00")
                for n, p in enumerate(shift.uniform(0.4, 1, 60))
            ),
            *(
                prediction(200 + n, p, created_at="2026-03-10T00:00:00+00:00")
                for n, p in enumerate(shift.uniform(0, 0.5, 60))
            ),
            *(prediction(300 + n, 0.5, created_at="2026-04-10T00:00:00+00:00") for n in range(5)),
        ]
        rows = {row.window: row for row in desk_of(write_results(tmp_path, *studies)).drift() if "lung" in row.quantity}
        assert {window: row.verdict for window, row in rows.items()} == {
            "2026-02": "drifted",
            "2026-03": "stable",
            "2026-04": "too few",
        }
        assert (rows["2026-02"].n, rows["2026-02"].reference_n, rows["2026-02"].kind) == (60, 60, "output")
        assert rows["2026-02"].mean > rows["2026-02"].reference_mean
        assert rows["2026-04"].psi is None

    def test_inputs_are_watched_too(self, tmp_path: Path) -> None:
        studies = [prediction(n, 0.1, created_at=f"2026-0{1 + n % 2}-01T00:00:00+00:00") for n in range(4)]
        quantities = {(row.quantity, row.kind) for row in desk_of(write_results(tmp_path, *studies)).drift()}
        assert ("characters of text", "input") in quantities
        assert ("missing inputs", "input") in quantities
        assert ("volume nodule mm3", "output") in quantities

    def test_windows_are_weeks_or_months(self, tmp_path: Path) -> None:
        desk = desk_of(write_results(tmp_path, prediction(1, 0.1)))
        assert desk.drift(windows="week") == ()
        with pytest.raises(UsageError, match="not by 'year'"):
            desk.drift(windows="year")

    def test_the_stability_index(self) -> None:
        reference = np.arange(100) / 100
        assert stability_index(reference, reference) == 0
        assert stability_index(reference, reference[:50]) > 0.25
        assert np.isfinite(stability_index(reference, [5.0] * 20))
        assert stability_index([1.0] * 30, [1.0] * 30) == 0
