"""The report as a record: what the page shows and the JSON holds, so that the two cannot differ."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from medfuse import __version__
from medfuse.storage import write_file

SCHEMA_VERSION = 1

Cell = str | int | float | None
"""Of a table: words, a count, a figure, or None where the figure is undefined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table to read.

    Args:
        title: What it shows.
        columns: Headings.
        rows: As many cells each as there are columns.
        note: What a reader must know of it; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points of a plot, in their order.

    Args:
        name: What the legend calls it; empty for none.
        x: Abscissae.
        y: Ordinates.
        style: How they are drawn; `reference` is what they are held against, `steps` a line that changes at its points.
        y_low: Lower ends of the intervals of `y`; empty for none.
        y_high: Upper ends.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: Literal["line", "steps", "points", "reference"] = "line"
    y_low: tuple[float, ...] = ()
    y_high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot to look at.

    Args:
        title: What it shows.
        x_label: Of the abscissa, with its unit.
        y_label: Of the ordinate.
        lines: What is drawn, in order.
        note: How it is read, in one sentence; the text of the picture for those who cannot see it.
        x_range: Ends of the abscissa; None for those of the data.
        y_range: Ends of the ordinate.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    note: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFailure:
    """A study to look at.

    Args:
        study_instance_uid: Which.
        kind: E.g. `missed`.
        name: Of the finding, segment or target.
        told: What was said and what is so.
        picture: PNG of one slice in base64; empty without.
        caption: What the picture shows.
    """

    study_instance_uid: str
    kind: str
    name: str
    told: str
    picture: str = ""
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the report under one heading.

    Args:
        title: The heading.
        paragraphs: Sentences before all else.
        tables: To read.
        plots: To look at.
        failures: To look at.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    failures: tuple[ShownFailure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A report of one model on one split.

    Args:
        title: Name of the run and of the split.
        research_use: The statement on use; it stands once.
        stamps: What identifies the model, the data and the software.
        warnings: What a reader must know before quoting a figure.
        sections: In order.
    """

    schema_version: int = SCHEMA_VERSION
    medfuse_version: str = __version__
    title: str
    research_use: str
    stamps: dict[str, Cell]
    warnings: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


def write_document(document: Document, path: Path) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    text = _adapter().dump_json(document, indent=2) + b"\n"
    write_file(path, lambda aside: aside.write_bytes(text))


def document_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `write_document` writes."""
    return _adapter().json_schema(mode="serialization")


@functools.cache
def _adapter() -> TypeAdapter[Document]:
    return TypeAdapter(Document)
