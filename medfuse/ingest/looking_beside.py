"""The second process of `looking`: batches of files come as lines of JSON, and what they are goes back so."""

import gc
import json
import sys
import threading
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from medfuse.ingest.dicom.scan import Instance
from medfuse.ingest.file_kinds import Sorted, sort_file
from medfuse.ingest.read_ahead import ask_for
from medfuse.ingest.records import RecordWriter
from medfuse.ingest.tree import FoundFile


def main() -> None:
    """Answer batches until there are no more."""
    gc.disable()  # what is made here stays, and holds no cycles
    batches: SimpleQueue[list[FoundFile] | None] = SimpleQueue()
    threading.Thread(target=_receive, args=(batches,), daemon=True).start()
    writer = RecordWriter()
    while (files := batches.get()) is not None:
        schemas, values = len(writer.schemas), len(writer.values)
        records = [_told(writer, sort_file(file)) for file in files]
        answer = {
            "schemas": list(islice(writer.schemas, schemas, None)),
            "values": [value for _, value in islice(writer.values, values, None)],
            "records": records,
        }
        sys.stdout.buffer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        sys.stdout.buffer.flush()


def _told(writer: RecordWriter, what: Sorted) -> list[Any]:
    person = (what.patient_key, what.accession_number) if isinstance(what, Instance) else ("", "")
    return [writer.record(what), *person]


def _receive(batches: "SimpleQueue[list[FoundFile] | None]") -> None:
    """Take in batches, and have the disk read them while an earlier one is looked at."""
    for line in sys.stdin.buffer:
        files = [FoundFile(Path(path), *rest) for path, *rest in json.loads(line)]
        batches.put(files)
        for file in files:
            ask_for(file.path)
    batches.put(None)
