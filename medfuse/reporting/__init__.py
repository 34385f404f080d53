"""What a paper, a reviewer and a committee read of a run: one page of HTML, the same as JSON, and reporting standards.

`read_artifacts` takes what a run and its evaluation hold, `compose` makes the document, `render_page` its HTML. A
standard is a list of items, each with the facts that artifacts support and with what a person has to write; no item is
claimed that nothing supports.
"""

from medfuse.reporting.artifacts import RunArtifacts, read_artifacts
from medfuse.reporting.compose import compose
from medfuse.reporting.document import Document, document_schema, write_document
from medfuse.reporting.page import render_page
from medfuse.reporting.standards import STANDARDS, render_standard

__all__ = [
    "STANDARDS",
    "Document",
    "RunArtifacts",
    "compose",
    "document_schema",
    "read_artifacts",
    "render_page",
    "render_standard",
    "write_document",
]
