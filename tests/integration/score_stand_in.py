"""Scores made studies with stages that need no model; run as a process that may be killed at any moment.

python tests/integration/score_stand_in.py STUDIES OUTPUT NUMBER SECONDS
"""

import sys
from pathlib import Path

from medfuse.batch import Limits, ScoringSession, SessionOptions
from tests.unit.batch import stand_in


def main(folder: Path, output: Path, number: int, seconds: float) -> None:
    """Score `number` studies, each of which takes the network `seconds`."""
    jobs = [stand_in.job(stand_in.study(folder, n)) for n in range(1, number + 1)]
    factories = stand_in.factories(output, seconds=seconds)
    with ScoringSession(output, factories, SessionOptions(limits=Limits(seconds=60))) as session:
        for _ in session.run(session.plan(jobs).jobs):
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
