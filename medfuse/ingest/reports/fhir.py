"""Reports in FHIR: a DiagnosticReport as JSON, alone or in a Bundle, as text in sections.

Source: HL7 FHIR R4, DiagnosticReport (conclusion, conclusionCode, presentedForm, result, text) and Observation.
R4B and R5 name the same elements.

`fhir.resources` 8.3 was looked at: it validates, and so refuses a report for a key that it does not know or a date with
a space in it. A report's text is wanted whatever else is wrong with the resource, so the JSON is walked here.
Markup (presentedForm of `text/html`, the narrative's `div`) is taken as text only; nothing of it reaches a screen.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from medfuse.domain import Report, SectionName
from medfuse.errors import UnreadableReportError
from medfuse.ingest.reports.codes import section_of_code
from medfuse.ingest.reports.decoding import decode
from medfuse.ingest.reports.sectioning import is_subheading, report_of

_WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
_VALUES = ("valueString", "valueCodeableConcept", "valueQuantity", "valueInteger", "valueBoolean")
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "ul", "ol", "tr", "td", "th", "table", "h1", "h2", "h3", "h4", "h5", "h6", "section"}
    | {"article", "pre", "blockquote", "dt", "dd", "dl", "hr"}
)
_SILENT = frozenset({"script", "style", "head", "title"})

_Json = Mapping[str, Any]


def resource_type(value: object) -> str:
    """The `resourceType` of parsed JSON, or an empty string."""
    return str(value.get("resourceType") or "") if isinstance(value, Mapping) else ""


def read_fhir(value: object, name: str) -> tuple[tuple[str, Report], ...]:
    """The reports of a DiagnosticReport, or of a Bundle of resources.

    Args:
        value: Parsed JSON.
        name: What to call the file in a message.

    Returns:
        Key and report of each DiagnosticReport that holds text; the key is its first identifier's value, else its id.

    Raises:
        UnreadableReportError: There is no DiagnosticReport, or it is withdrawn (`NOT_A_REPORT`), or none holds text
            (`EMPTY_REPORT`).
    """
    resources = list(_resources(value))
    known = {ref: one for one in resources for ref in _references(one)}
    found = [one for one in resources if resource_type(one) == "DiagnosticReport"]
    kept = [one for one in found if one.get("status") not in _WITHDRAWN]
    if not kept:
        what = "entered in error or cancelled" if found else "no DiagnosticReport"
        raise UnreadableReportError(f"{name}: the FHIR resource is {what}", reason="NOT_A_REPORT")
    reports = []
    for one in kept:
        texts = list(_texts(one, known))
        if texts:
            reports.append((_key(one), report_of(texts)))
    if not reports:
        raise UnreadableReportError(f"{name}: the FHIR report holds no text", reason="EMPTY_REPORT")
    return tuple(reports)


def text_of_html(markup: str) -> str:
    """The text of a piece of HTML, with line breaks where blocks begin and end; scripts and styles hold none."""
    reader = _TextOfHtml()
    reader.feed(markup)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _TextOfHtml(HTMLParser):
    """Collects what a browser would show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data.replace("\n", " "))


def _resources(value: object) -> Iterator[_Json]:
    """Every resource: the value itself, the entries of a Bundle, and what they contain."""
    waiting = [value]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, Mapping):
            continue
        if resource_type(one) == "Bundle":
            waiting.extend(entry.get("resource") for entry in _list(one, "entry") if isinstance(entry, Mapping))
            continue
        yield one
        waiting.extend(_list(one, "contained"))


def _references(resource: _Json) -> tuple[str, ...]:
    identity = str(resource.get("id") or "")
    return (f"#{identity}", f"{resource_type(resource)}/{identity}", f"urn:uuid:{identity}") if identity else ()


def _texts(report: _Json, known: Mapping[str, _Json]) -> Iterator[tuple[SectionName, str]]:
    """Section and text of all that a report says; its narrative where it says more than the rest."""
    said: list[tuple[SectionName, str]] = [
        (SectionName.OTHER, text) for form in _list(report, "presentedForm") if (text := _attachment(form))
    ]
    seen: set[int] = set()
    for reference in _list(report, "result"):
        target = known.get(str(reference.get("reference") or "")) if isinstance(reference, Mapping) else None
        said.extend(_observation(target, known, seen) if target is not None else ())
    for observation in (one for one in _list(report, "contained") if resource_type(one) == "Observation"):
        said.extend(_observation(observation, known, seen))
    if conclusion := _string(report.get("conclusion")):
        said.append((SectionName.IMPRESSION, conclusion))
    codes = [_concept(code) for code in _list(report, "conclusionCode")]
    said.extend((SectionName.IMPRESSION, code) for code in codes if code and not _holds(said, code))
    narrative = report.get("text")
    shown = text_of_html(_string(narrative.get("div"))) if isinstance(narrative, Mapping) else ""
    if shown and not _holds(said, shown):
        said.insert(0, (SectionName.OTHER, shown))
    yield from (pair for pair in said if pair[1].strip())


def _observation(one: _Json, known: Mapping[str, _Json], seen: set[int]) -> Iterator[tuple[SectionName, str]]:
    """What an observation says. Without a heading that is known, a result is a finding: it states the answer."""
    if id(one) in seen or one.get("status") in _WITHDRAWN:
        return
    seen.add(id(one))
    section, title = _heading(one)
    for part in (one, *(c for c in _list(one, "component") if isinstance(c, Mapping))):
        named = _heading(part)[1] if part is not one else title
        for text in _values(part):
            is_named = is_subheading(named) or (named and "valueString" not in part)
            yield section, f"{named}: {text}" if is_named else text
    for note in _list(one, "note"):
        if isinstance(note, Mapping) and (text := _string(note.get("text"))):
            yield section, text
    for member in _list(one, "hasMember"):
        target = known.get(str(member.get("reference") or "")) if isinstance(member, Mapping) else None
        if target is not None:
            yield from _observation(target, known, seen)


def _heading(one: _Json) -> tuple[SectionName, str]:
    """The section that a resource's code names, and the code in words."""
    code = one.get("code")
    if not isinstance(code, Mapping):
        return SectionName.FINDINGS, ""
    codings = [coding for coding in _list(code, "coding") if isinstance(coding, Mapping)]
    words = [_string(code.get("text")), *(_string(coding.get("display")) for coding in codings)]
    title = next((word for word in words if word), "")
    for name in (*(_string(coding.get("code")) for coding in codings), *words):
        if name and (section := section_of_code(name)) is not None:
            return section, title
    return SectionName.FINDINGS, title


def _values(one: _Json) -> Iterator[str]:
    for key in _VALUES:
        value = one.get(key)
        if value is None:
            continue
        if key == "valueCodeableConcept":
            text = _concept(value)
        elif key == "valueQuantity" and isinstance(value, Mapping):
            text = f"{value.get('value', '')} {_string(value.get('unit') or value.get('code'))}".strip()
        else:
            text = _string(value)
        if text:
            yield text


def _attachment(form: object) -> str:
    """The text of an attachment, plain or HTML; other documents are left out."""
    if not isinstance(form, Mapping):
        return ""
    kind, _, parameters = _string(form.get("contentType")).lower().partition(";")
    if kind.strip() not in {"text/plain", "text/html", "text", "application/xhtml+xml"}:
        return ""
    charset = parameters.partition("charset=")[2].strip(" \"'") or None
    try:
        text = decode(
            base64.b64decode("".join(_string(form.get("data")).split()), validate=True), "presentedForm", charset
        )
    except (binascii.Error, ValueError):
        return ""
    return text_of_html(text) if "html" in kind else text


def _concept(value: object) -> str:
    if not isinstance(value, Mapping):
        return ""
    codings = [coding for coding in _list(value, "coding") if isinstance(coding, Mapping)]
    return _string(value.get("text")) or next((_string(c.get("display")) for c in codings if c.get("display")), "")


def _holds(said: list[tuple[SectionName, str]], text: str) -> bool:
    """Whether the texts say `text` already, spaces and line breaks aside."""
    return "".join(text.split()) in "".join("".join(one.split()) for _, one in said)


def _key(report: _Json) -> str:
    values = [_string(one.get("value")) for one in _list(report, "identifier") if isinstance(one, Mapping)]
    return next((value for value in values if value), _string(report.get("id")))


def _list(one: _Json, key: str) -> list[Any]:
    value = one.get(key)
    return value if isinstance(value, list) else []


def _string(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if isinstance(value, int | float) else ""
