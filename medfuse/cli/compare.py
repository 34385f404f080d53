"""`medfuse compare`: runs against one another on the same studies, by paired tests."""

from pathlib import Path
from typing import Annotated

import typer

from medfuse.errors import UsageError


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_A RUN_B...",
            help="Run folders that medfuse evaluate has measured, or evaluations as JSON; the first is the reference.",
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="JSON file to write.", show_default=False)] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Compare this alone: AUROC, Dice, or 'NAME, AUROC'. May be repeated; settle it beforehand."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples, by patient.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
) -> None:
    """Compare runs on the same studies: paired tests, corrected for their number, and what may be claimed.

    AUROCs by DeLong's test, Dice by Wilcoxon's, the rest by a paired bootstrap; patients count once. All p values of a
    call are corrected together by Holm's method. Runs of other studies or labels are refused.
    """
    if len(runs) < 2:
        raise UsageError("a comparison is of at least two runs: medfuse compare RUN_A RUN_B")

    from rich.console import Console

    from medfuse.cli.evaluate import check_file
    from medfuse.evaluation.comparison import compare_given, read_runs, render_comparison, write_comparison
    from medfuse.evaluation.resampling import Resampling

    if output is not None:
        check_file(output)
    report = compare_given(read_runs(runs, split), split, Resampling(draws=draws, seed=seed), measure or ())
    if output is not None:
        write_comparison(report, output)
    console = Console()
    console.print(render_comparison(report))
    if output is not None:
        console.print(f"written: {output}", markup=False, highlight=False, soft_wrap=True)
