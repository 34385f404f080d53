"""A kappa with its interval, in words and as a bar from -1 to 1."""

from apps.viewer.panels import html


def words(value: float | None, low: float | None, high: float | None, reason: str = "") -> str:
    """The figure with its interval; without one the reason why."""
    if value is None:
        return reason or "undefined"
    if low is None or high is None:
        return f"{value:.2f}"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def bar(value: float | None, low: float | None, high: float | None) -> str:
    """The interval as a line with its figure on it, as HTML; empty without a figure."""
    if value is None:
        return ""
    first, last = (value if low is None else low), (value if high is None else high)
    line = html.tag("i", "", style=f"left: {_at(first):.1f}%; width: {max(_at(last) - _at(first), 0.5):.1f}%")
    return html.tag("span", line + html.tag("b", "", style=f"left: {_at(value):.1f}%"), classes="mf-interval")


def _at(value: float) -> float:
    return 50 * (min(max(value, -1.0), 1.0) + 1)
