"""The one place where text becomes HTML: everything that comes out of a file or a reader passes `text`."""

import html
from collections.abc import Iterable

import streamlit as st


def text(value: object) -> str:
    """`value` as text of HTML: markup in it is shown, never run."""
    return html.escape(str(value), quote=True)


def tag(name: str, content: str, *, classes: str = "", style: str = "") -> str:
    """An element around `content`, which is HTML already; class and style are the app's own words and numbers."""
    attributes = f' class="{text(classes)}"' if classes else ""
    attributes += f' style="{text(style)}"' if style else ""
    return f"<{name}{attributes}>{content}</{name}>"


def draw(parts: Iterable[str], *, inline: bool = False) -> None:
    """Put HTML on the page, as wide as its container or (inline) as its content; Streamlit runs no script of it."""
    st.html("".join(parts), width="content" if inline else "stretch")


def notice(kind: str, message: object) -> None:
    """A short line in a box: `kind` is `info`, `warning` or `error`; the message is text."""
    draw([tag("div", text(message), classes=f"mf-notice mf-{kind}")])
