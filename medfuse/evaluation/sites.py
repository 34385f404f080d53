"""Generalisation to other sites: each site scored by a model that never saw it (leave one site out).

Nothing is trained here. Folds of sites come from training; what is held here is that every study was scored by a model
whose training and validation studies hold none of its site, for figures of sites that the model knows would pass for
generalisation.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from medfuse.domain import LabelSet
from medfuse.errors import UsageError
from medfuse.evaluation.cases import Case
from medfuse.evaluation.figures import SiteFigures
from medfuse.evaluation.groups import NOT_KNOWN, Grouping, groups_of, order_of
from medfuse.evaluation.resampling import Resampling
from medfuse.evaluation.run import read_splits
from medfuse.evaluation.subgroups import group_figures, measures


def check_unseen(runs: Mapping[str, Path], manifest: Path, column: str) -> None:
    """See that no test study's site is among those that its model was trained on or chosen by.

    Args:
        runs: Fold -> its run folder; one for a run of one fold.
        manifest: The manifest with the column.
        column: Of the sites.

    Raises:
        UsageError: A site was seen, a study has none, or there is one site alone.
        ManifestError: The manifest lacks the column.
    """
    sites = groups_of(manifest, Grouping(column=column))
    tested: set[str] = set()
    for run in runs.values():
        told = read_splits(run / "splits.csv")
        by_split = [
            {sites.get(uid, NOT_KNOWN) for uid, _, split in told if (split == "test") is is_test}
            for is_test in (True, False)
        ]
        if NOT_KNOWN in by_split[0]:
            raise UsageError(f"--sites {column}: a test study of {run} has no site in {manifest}; fill the column in")
        seen = sorted(by_split[0] & by_split[1])
        if seen:
            raise UsageError(
                f"--sites {column}: {run} was trained or chosen on studies of {len(seen)} of its test sites "
                f"({', '.join(seen[:3])}); train with folds of whole sites, or compare the groups with --by {column}"
            )
        tested |= by_split[0]
    if len(tested) < 2 and len(runs) > 1:
        raise UsageError(f"--sites {column}: all test studies are of one site; there is nothing to compare")


def site_figures(
    column: str,
    labels: LabelSet,
    cases: Sequence[Case],
    operating_points: Mapping[str, float | None],
    resampling: Resampling,
) -> SiteFigures:
    """The figures of each left-out site, and how they vary.

    Args:
        column: Key of `Case.groups`; `check_unseen` has held it.
        labels: What is predicted.
        cases: The scored studies.
        operating_points: Finding -> threshold, for cases without one of their own.
        resampling: How intervals are made.
    """
    sites = tuple(
        group_figures(
            value,
            list(measures([case for case in cases if case.groups[column] == value], labels, operating_points)),
            cases,
            column,
            resampling,
            unseen=True,
        )
        for value in order_of(case.groups[column] for case in cases)
    )
    values = {
        name: [value for site in sites if (value := site.measures[name].value) is not None]
        for name in (sites[0].measures if sites else {})
    }
    known = {name: each for name, each in values.items() if each}
    return SiteFigures(
        column=column,
        sites=sites,
        mean={name: fmean(each) for name, each in known.items()},
        spread={name: stdev(each) for name, each in known.items() if len(each) > 1},
        lowest={name: min(each) for name, each in known.items()},
        highest={name: max(each) for name, each in known.items()},
    )
