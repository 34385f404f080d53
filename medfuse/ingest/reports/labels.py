"""Reports -> labels of findings, with the evidence for each: what `medfuse label-reports` does."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.domain import LabelValue, Report
from medfuse.ingest.reports.lexicon import Lexicon
from medfuse.ingest.reports.mention import Mention, is_counted, labels_of, mentions
from medfuse.ingest.reports.phrases import simplest
from medfuse.storage import write_file

EVIDENCE_COLUMNS = (
    "report",
    "finding",
    "section",
    "start",
    "end",
    "value",
    "historical",
    "hypothetical",
    "experiencer",
    "counted",
    "phrase",
    "cues",
)
"""Columns of an evidence file behind its key: which report of the study, the offsets in its text, what is said of the
mention, whether it counts, and by which phrases. None of them holds text of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLabels:
    """Labels and mentions of a set of studies.

    Args:
        labels: Key -> finding -> value, in the order of the reports.
        found: Key, number of the report from 1, and mention, in the order of the text.
        texts: Key and number of the report -> its text.
    """

    labels: dict[str, dict[str, LabelValue]] = field(default_factory=dict)
    found: list[tuple[str, int, Mention]] = field(default_factory=list)
    texts: dict[tuple[str, int], str] = field(default_factory=dict)


def label_reports(
    studies: Iterable[tuple[str, Sequence[Report]]],
    lexicon: Lexicon,
    *,
    language: str | None = None,
    on_study: Callable[[int], None] | None = None,
) -> ReportLabels:
    """Label studies by what their reports say.

    Args:
        studies: Key and reports of each study; one without reports is NOT_ASSESSED throughout, whatever the lexicon
            says of findings that reports do not mention.
        lexicon: What to look for, and what counts.
        language: The language of all reports; told for each report when left out.
        on_study: Called after each study with the number of studies done.
    """
    done = ReportLabels()
    for n, (key, reports) in enumerate(studies, start=1):
        of_study: list[Mention] = []
        for number, report in enumerate(reports, start=1):
            found = mentions(report, lexicon, language=language)
            of_study += found
            done.found.extend((key, number, mention) for mention in found)
            done.texts[key, number] = report.text
        done.labels[key] = (
            labels_of(of_study, lexicon) if reports else dict.fromkeys(lexicon.findings, LabelValue.NOT_ASSESSED)
        )
        if on_study is not None:
            on_study(n)
    return done


def write_evidence(
    path: Path, key_column: str, labelled: ReportLabels, lexicon: Lexicon, *, with_text: bool = False
) -> None:
    """Write one row a mention, whole or not at all.

    Args:
        path: A CSV file; one of that name is replaced.
        key_column: The name of the first column, as in the label file.
        labelled: What `label_reports` gave.
        lexicon: What it was given.
        with_text: Add the line of the report around each mention; without it the file holds no text of a report.

    Raises:
        StorageError: The place cannot be written, or is full.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([key_column, *EVIDENCE_COLUMNS, *(("text",) if with_text else ())])
    for key, number, mention in labelled.found:
        row = [key, *_evidence(number, mention, lexicon)]
        if with_text:
            row.append(_line_around(labelled.texts[key, number], mention))
        writer.writerow([f"'{cell}" if cell.startswith(("=", "+", "-", "@", "'")) else cell for cell in row])
    content = out.getvalue().encode("utf-8", errors="surrogateescape")
    write_file(path, lambda aside: aside.write_bytes(content))


def _evidence(number: int, mention: Mention, lexicon: Lexicon) -> list[str]:
    said = mention.assertion
    return [
        str(number),
        mention.finding,
        mention.section.value,
        str(mention.start),
        str(mention.end),
        said.value.value,
        "1" if said.is_historical else "0",
        "1" if said.is_hypothetical else "0",
        said.experiencer.value,
        "1" if is_counted(mention, lexicon) else "0",
        simplest(mention.phrase),
        " | ".join(simplest(cue) for cue in said.cues),
    ]


def _line_around(text: str, mention: Mention) -> str:
    start = max(text.rfind("\n", 0, mention.start) + 1, mention.start - 200)
    end = text.find("\n", mention.end)
    return " ".join(text[start : min(end if end >= 0 else len(text), mention.end + 200)].split())
