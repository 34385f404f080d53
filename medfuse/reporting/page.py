"""The report as one page of HTML that stands alone: no script, nothing fetched; Jinja2 escapes every word.

The page forbids itself both by a Content Security Policy (W3C CSP Level 3), should a reader's copy be tampered with.
"""

from importlib.resources import files

from medfuse.reporting.document import Cell, Document
from medfuse.reporting.drawing import draw

_TEMPLATE = "page.html.jinja"
_LARGE = 1000.0


def render_page(document: Document) -> str:
    """The whole page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = shown
    environment.filters["is_number"] = lambda value: value is None or not isinstance(value, str)
    environment.filters["draw"] = lambda plot: Markup(draw(plot))  # noqa: S704 - matplotlib's SVG, its text escaped
    text = files("medfuse.reporting").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(document=document)


def shown(value: Cell) -> str:
    """A cell as text: three decimals, fewer for large numbers; n/a where undefined."""
    if value is None:
        return "n/a"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    text = f"{value:.1f}" if abs(value) >= _LARGE else f"{value:.3f}"
    return text.removeprefix("-") if float(text) == 0 else text
