"""Where the sentences of a clinical text end, so that a negation does not reach into the next one.

Reports are lists as often as prose: a line break ends a sentence where the next line begins anew (a capital, a bullet,
a number) and the line before was not just wrapped. pysbd and spaCy's sentence splitters were looked at: they are made
for prose and join such lists, or need a model.
"""

import re
from bisect import bisect_right

_END = re.compile(
    r"""
    (?<=[.!?])[)\]"'*_]{0,3}(?:[ \t]+|(?=[\r\n]|\Z))    # a point, and space behind it
    | [。！？；][ \t]*
    | ;[ \t]*
    | (?<![ \t])[ \t]+(?=\(?\d{1,2}\)[ \t]+[A-ZÀ-ÖØ-Þ])         # items numbered within a line
    | (?<![ \t])[ \t]{2,}(?=[A-ZÀ-ÖØ-Þ][A-ZÀ-ÖØ-Þ /()&-]{3,40}:)     # a heading where a line break was lost
    | (?:\r\n|[\n\r\x0b\x0c\x85\u2028\u2029])[ \t]*
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:^|[^\w])(?:dr|mr|mrs|ms|prof|st|approx|ca|cf|vs|e\.g|i\.e|resp|incl|inkl|z\.b|bzw|ggf|d\.h|u\.a|v\.a|sog|evtl"
    r"|bds|li|re|ant|post|inf|sup|lat|med|env|p\.ex|ej|aprox|no|fig|[a-z])\.\Z",
    re.IGNORECASE,
)
_NEW_ITEM = re.compile(r"[-*•·–—>#]|\(?\d{1,2}[.)]\s|[A-ZÀ-ÖØ-Þ][^\n:]{0,40}:")
_JOINING = re.compile(
    r"[,(/&–-][ \t]*\Z|\b(?:of|the|and|or|no|with|without|in|for|de|la|el|du|des|und|oder|kein|keine)\Z", re.I
)
_WRAPPED_SHARE = 0.7
_WRAPPED_LEAST = 45


class Sentences:
    """The sentences of a text, as offsets; they tile it.

    Args:
        text: The text as it stands.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._longest = max((len(line) for line in text.splitlines()), default=0)
        self.starts = [0, *(match.end() for match in _END.finditer(text) if self._ends(match))]

    def around(self, position: int) -> tuple[int, int]:
        """Start and end of the sentence that holds the character at `position`."""
        index = bisect_right(self.starts, position) - 1
        end = self.starts[index + 1] if index + 1 < len(self.starts) else len(self._text)
        return self.starts[index], end

    def _ends(self, match: re.Match[str]) -> bool:
        mark = self._text[match.start() - 1] if match.start() else ""
        if match[0][:1] in "\n\r\x0b\x0c\x85\u2028\u2029":
            return self._is_break(match)
        if mark == ".":
            return _ABBREVIATION.search(self._text, max(0, match.start() - 12), match.start()) is None
        return True

    def _is_break(self, match: re.Match[str]) -> bool:
        """Whether a line break ends a sentence: not where a line was wrapped for its length."""
        text, following = self._text, match.end()
        if following >= len(text) or text[following] in "\n\r\x0b\x0c\x85\u2028\u2029":
            return True
        if _NEW_ITEM.match(text, following):
            return True
        line_start = max(text.rfind("\n", 0, match.start()), text.rfind("\r", 0, match.start())) + 1
        line = text[line_start : match.start()].rstrip()
        if not line or line.endswith(":"):
            return not line
        is_wrapped = len(line) >= max(_WRAPPED_LEAST, _WRAPPED_SHARE * self._longest)
        starts_anew = text[following].isupper() or text[following].isdecimal()
        if _JOINING.search(line):
            return False
        return starts_anew and not is_wrapped
