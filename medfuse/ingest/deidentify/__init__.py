"""De-identification by DICOM PS3.15 annex E: the Basic Profile with options, for whole trees of studies and reports.

`deidentify_tree` is the door; `medfuse deidentify` the command. What is done to an attribute stands in a table
(`profile`), values are made from a secret key (`secret`), text is scrubbed (`text`), and what cannot be made safe is
held back (`held_back`).
"""

from medfuse.ingest.deidentify.profile import Options
from medfuse.ingest.deidentify.record import Record
from medfuse.ingest.deidentify.secret import Secret, create_key_file, read_key_file
from medfuse.ingest.deidentify.tree import deidentify_tree

__all__ = ["Options", "Record", "Secret", "create_key_file", "deidentify_tree", "read_key_file"]
