"""The one place where text becomes HTML: everything that comes out of a file or a reader passes `text`."""

import html
from collections.abc import Iterable, Mapping

import streamlit as st


def text(value: object) -> str:
    """`value` as text of HTML: markup in it is shown, never run."""
    return html.escape(str(value), quote=True)


def tag(
    name: str, content: str, *, classes: str = "", style: str = "", attributes: Mapping[str, object] | None = None
) -> str:
    """An element around `content`, which is HTML already; the values of attributes are text."""
    given = {"class": classes, "style": style, **(attributes or {})}
    written = "".join(f' {key}="{text(value)}"' for key, value in given.items() if value not in ("", None))
    return f"<{name}{written}>{content}</{name}>"


def draw(parts: Iterable[str], *, inline: bool = False) -> None:
    """Put HTML on the page, as wide as its container or (inline) as its content; Streamlit runs no script of it."""
    st.html("".join(parts), width="content" if inline else "stretch")


def notice(kind: str, message: object) -> None:
    """A short line in a box: `kind` is `info`, `warning` or `error`; the message is text."""
    role = "alert" if kind == "error" else "status"
    draw([tag("div", text(message), classes=f"mf-notice mf-{kind}", attributes={"role": role})])
