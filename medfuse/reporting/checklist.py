"""A reporting checklist: items, each with the facts that a run may support and with what a person has to write."""

from collections.abc import Iterator
from dataclasses import dataclass

from medfuse.reporting.artifacts import RunArtifacts
from medfuse.reporting.facts import Fact, FactMaker
from medfuse.reporting.markdown import code, escape, header

PERSON = "To write by a person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item.

    Args:
        number: As the standard counts it.
        part: Of the paper.
        topic: What it asks for, in a few words of our own.
        facts: What a run may support of it; none where no file of a run can.
        person: What stays with a person however much the run holds; empty where the facts answer the item.
    """

    number: str
    part: str
    topic: str
    facts: tuple[FactMaker, ...] = ()
    person: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """A standard.

    Args:
        name: Of the standard.
        reference: Where its text is found.
        items: In its order.
    """

    name: str
    reference: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An item as far as a run answers it."""

    item: Item
    facts: tuple[Fact, ...]

    @property
    def state(self) -> str:
        """`from the run`, `in part`, or `to write`."""
        if not self.facts:
            return "to write"
        return "in part" if self.item.person else "from the run"

    @property
    def to_write(self) -> str:
        """What a person has to write; empty where nothing is left."""
        if self.item.person:
            return self.item.person
        return "" if self.facts else "no file that was given supports this item"


def answer(checklist: Checklist, run: RunArtifacts) -> tuple[Answer, ...]:
    """Every item with the facts that the run supports."""
    return tuple(
        Answer(item=item, facts=tuple(fact for make in item.facts if (fact := make(run)) is not None))
        for item in checklist.items
    )


def render_checklist(checklist: Checklist, run: RunArtifacts) -> str:
    """The checklist as Markdown."""
    answers = answer(checklist, run)
    return "\n".join([*header(f"{checklist.name}: {run.name}", run), *_about(checklist, answers), *_items(answers)])


def _about(checklist: Checklist, answers: tuple[Answer, ...]) -> Iterator[str]:
    states = ("from the run", "in part", "to write")
    yield from (f"Items by their numbers in {checklist.reference}; the topics are short paraphrases.", "")
    yield "Each statement names the file and keys that support it; what no file supports is marked and not claimed."
    yield ""
    yield "| state | items |"
    yield "|---|---|"
    for state in states:
        numbers = [one.item.number for one in answers if one.state == state]
        yield f"| {state} | {len(numbers)}: {', '.join(numbers) or 'none'} |"
    yield ""


def _items(answers: tuple[Answer, ...]) -> Iterator[str]:
    part = ""
    for one in answers:
        if one.item.part != part:
            part = one.item.part
            yield from (f"## {part}", "")
        yield from (f"### {one.item.number}. {one.item.topic}", "", f"*{one.state}*", "")
        for fact in one.facts:
            yield f"- {escape(fact.text)} [source: {code(fact.source)}]"
        if one.to_write:
            yield f"- **{PERSON}:** {one.to_write}"
        yield ""
