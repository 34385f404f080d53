"""A plot as SVG that stands inside a page; matplotlib draws.

Text stays text, so that it can be read aloud and searched. What matplotlib says of itself (date, addresses of
vocabularies) and names that nothing refers to are taken out: many plots stand in one page.
"""

import io
import textwrap
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from medfuse.reporting.document import Line, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Told apart by colour-blind readers (Okabe and Ito, 2008)."""

_SIZE_INCHES = (3.6, 2.9)
_TITLE_WIDTH = 48
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medfuse",  # the same plot gives the same file
    "text.parse_math": False,  # names are words, never formulas
    "font.size": 8,
    "axes.titlesize": 9,
    "legend.fontsize": 7,
}


def draw(plot: Plot) -> str:
    """The plot as an `svg` element, with its title and note as the text alternative."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        colours = iter(_COLOURS * len(plot.lines))
        for line in plot.lines:
            _add(axes, line, "#777777" if line.style == "reference" else next(colours))
        axes.set_title("\n".join(textwrap.wrap(plot.title, _TITLE_WIDTH)))  # its own wrapping reads formulas
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)
        if plot.x_range is not None:
            axes.set_xlim(plot.x_range[0] - 0.02, plot.x_range[1] + 0.02)
        if plot.y_range is not None:
            axes.set_ylim(plot.y_range[0] - 0.02, plot.y_range[1] + 0.02)
        if any(line.name for line in plot.lines):
            axes.legend(loc="best", framealpha=0.7)
        axes.grid(visible=True, color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), plot)


def _add(axes: "Axes", line: Line, colour: str) -> None:
    label = line.name or "_nolegend_"
    if line.style == "reference":
        axes.plot(line.x, line.y, color=colour, linestyle="--", linewidth=0.9, label=label)
    elif line.style == "points":
        axes.plot(line.x, line.y, marker="o", markersize=3.5, linestyle="none", color=colour, label=label)
        if line.y_low:
            axes.vlines(line.x, line.y_low, line.y_high, color=colour, linewidth=0.8)
    else:
        drawing = "steps-post" if line.style == "steps" else "default"
        axes.plot(line.x, line.y, color=colour, linewidth=1.4, drawstyle=drawing, label=label)
        if line.y_low:
            axes.fill_between(line.x, line.y_low, line.y_high, color=colour, alpha=0.15, linewidth=0)


def _inline(svg: bytes, plot: Plot) -> str:
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(svg)  # noqa: S314 - what matplotlib wrote a moment ago
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    used = "".join(value for element in root.iter() for name, value in element.attrib.items() if name != "id")
    for element in root.iter():
        if "id" in element.attrib and f"#{element.attrib['id']}" not in used:
            del element.attrib["id"]
    root.set("role", "img")
    root.set("aria-label", f"{plot.title}. {plot.note}")
    return ElementTree.tostring(root, encoding="unicode")
