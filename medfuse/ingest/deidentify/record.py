"""What was changed: counts by attribute and action, what was held back and why, and never a value.

The record of a run is the sum of the records of its studies, so that a run that goes on where another was stopped ends
in the same record.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfuse.ingest.deidentify.clean import Tally
from medfuse.storage import write_file

WARNING = (
    "Free text was scrubbed by rules and by the names in the headers. No rule finds every identity: "
    "read the texts before you release them. Faces can be rebuilt from images of the head."
)
"""Stands in every record and on the console."""


@dataclass(slots=True)
class Record:
    """What was done.

    Args:
        attributes: What was done to attributes.
        text: Kind -> number of places in reports that were replaced, e.g. `NAME`.
        files: Number of DICOM objects written.
        reports: Number of report files written.
        held_back: `(reason, pseudonymous study UID, pseudonymous series UID, SOP class)` -> number of files.
        kept_burned_in: Reason -> number of images written although they may show text.
        studies: Number of studies written.
        patients: Number of patients with a study written.
        left_out: Number of files that hold nothing of their own: hidden files and DICOMDIRs.
        unchanged: Number of studies that an earlier run had written already.
    """

    attributes: Tally = field(default_factory=Tally)
    text: Counter[str] = field(default_factory=Counter)
    files: int = 0
    reports: int = 0
    held_back: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    kept_burned_in: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    patients: int = 0
    left_out: int = 0
    unchanged: int = 0

    def add(self, other: "Record") -> None:
        """Add the record of a study."""
        self.attributes.counts += other.attributes.counts
        self.text += other.text
        self.files += other.files
        self.reports += other.reports
        self.held_back += other.held_back
        self.kept_burned_in += other.kept_burned_in

    @property
    def held_by_reason(self) -> Counter[str]:
        """Reason -> number of files held back."""
        counts: Counter[str] = Counter()
        for (reason, *_), n in self.held_back.items():
            counts[reason] += n
        return counts

    def as_dict(self) -> dict[str, Any]:
        """The record as it is stored."""
        return {
            "files": self.files,
            "reports": self.reports,
            "attributes": [
                {"attribute": name, "tag": tag, "action": action, "count": n}
                for (name, tag, action), n in sorted(self.attributes.counts.items(), key=lambda pair: pair[0][1:])
            ],
            "text": dict(sorted(self.text.items())),
            "held_back": [
                {"reason": reason, "study": study, "series": series, "sop_class": sop_class, "files": n}
                for (reason, study, series, sop_class), n in sorted(self.held_back.items())
            ],
            "kept_burned_in": dict(sorted(self.kept_burned_in.items())),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Record":
        """A record as it was stored."""
        return cls(
            attributes=Tally(
                Counter({(row["attribute"], row["tag"], row["action"]): row["count"] for row in stored["attributes"]})
            ),
            text=Counter(stored["text"]),
            files=stored["files"],
            reports=stored["reports"],
            held_back=Counter(
                {
                    (row["reason"], row["study"], row["series"], row["sop_class"]): row["files"]
                    for row in stored["held_back"]
                }
            ),
            kept_burned_in=Counter(stored["kept_burned_in"]),
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))
