"""Negation, history and experiencer on the NegEx test sentences, beside negspaCy or medspaCy in the same run.

    python tests/benchmarks/bench_negation.py [--data FILE] [--peer negspacy --peer-python VENV/bin/python]

The rules of medfuse were written on one half of the sentences (by a hash of the sentence, so that copies of a sentence
fall into one half); the errors of the other half were never looked at. A peer runs in an interpreter of its own where
it cannot share medfuse's: its sentences and answers travel as JSON.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "negex" / "rsAnnotations-1-120-random.txt"


@dataclass(frozen=True)
class Case:
    """A sentence with a concept in it, and what the annotators say of the concept."""

    sentence: str
    start: int
    end: int
    negated: bool
    historical: bool
    of_other: bool

    @property
    def half(self) -> str:
        """`dev` for the half that the rules were written on, else `held out`."""
        digest = hashlib.sha256(" ".join(self.sentence.lower().split()).encode()).digest()
        return "held out" if digest[0] % 2 else "dev"


def read_cases(path: Path) -> list[Case]:
    """The rows of the NegEx test set. The concept stands in capitals; where it was cut off, its longest beginning."""
    cases = []
    for line in path.read_text(encoding="latin-1").splitlines()[1:]:
        _, concept, sentence, negation, time_, experiencer = line.split("\t")
        start, end = locate(concept, sentence)
        cases.append(Case(sentence, start, end, negation == "Negated", time_ == "Historical", experiencer != "Patient"))
    return cases


def locate(concept: str, sentence: str) -> tuple[int, int]:
    """Where the concept stands in its sentence; the whole sentence where it does not."""
    for haystack, needle in ((sentence, concept.upper()), (sentence.lower(), concept.lower())):
        at = haystack.find(needle)
        if at >= 0:
            return at, at + len(needle)
    for length in range(len(concept) - 1, 4, -1):
        at = sentence.lower().find(concept[:length].lower())
        if at >= 0:
            return at, at + length
    return 0, len(sentence)


def ask_medfuse(cases: Sequence[Case]) -> dict[str, list[bool]]:
    """What medfuse says of each concept."""
    from medfuse.domain import LabelValue
    from medfuse.ingest.reports.assertion import Experiencer, assess

    said = [assess(case.sentence, case.start, case.end) for case in cases]
    return {
        "negated": [one.value is LabelValue.ABSENT for one in said],
        "historical": [one.is_historical for one in said],
        "of_other": [one.experiencer is Experiencer.OTHER for one in said],
    }


def ask_peer(cases: Sequence[Case], peer: str, python: str) -> dict[str, list[bool]]:
    """What a peer says, in the interpreter that has it."""
    sent = json.dumps([[case.sentence, case.start, case.end] for case in cases])
    done = subprocess.run([python, __file__, "--answer-as", peer], input=sent, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{peer} does not run in {python}: {(done.stderr.splitlines() or ['no message'])[-1]}")
    answers: dict[str, list[bool]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def answer_as(peer: str) -> None:
    """Answer the sentences of the standard input as a peer does; runs in the peer's interpreter."""
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    if peer == "negspacy":
        import negspacy.negation  # noqa: F401  registers its component

        pipe = nlp.add_pipe("negex")
        flags = {"negated": "negex"}
    else:
        import medspacy.context  # noqa: F401  registers its component

        pipe = nlp.add_pipe("medspacy_context")
        flags = {"negated": "is_negated", "historical": "is_historical", "of_other": "is_family"}
    answers: dict[str, list[bool]] = {name: [] for name in flags}
    for sentence, start, end in json.load(sys.stdin):
        doc = nlp.get_pipe("sentencizer")(nlp.make_doc(sentence))
        doc.ents = [doc.char_span(start, end, label="CONCEPT", alignment_mode="expand")]
        doc = pipe(doc)
        for name, flag in flags.items():
            answers[name].append(any(getattr(ent._, flag) for ent in doc.ents))
    sys.stdout.write(json.dumps(answers))


def table(cases: Sequence[Case], answers: dict[str, dict[str, list[bool]]]) -> list[str]:
    """Accuracy, sensitivity and precision of everyone, by half and question."""
    lines = [f"{'':10}{'question':12}{'sentences':>10}{'':4}{'who':12}{'accuracy':>9}{'recall':>8}{'precision':>10}"]
    for half in ("dev", "held out", "all"):
        chosen = [n for n, case in enumerate(cases) if half in ("all", case.half)]
        for question in ("negated", "historical", "of_other"):
            for who, said in answers.items():
                if question not in said:
                    continue
                pairs = [(said[question][n], getattr(cases[n], question)) for n in chosen]
                hits = sum(a and t for a, t in pairs)
                accuracy = sum(a == t for a, t in pairs) / len(pairs)
                recall = hits / max(1, sum(t for _, t in pairs))
                precision = hits / max(1, sum(a for a, _ in pairs))
                lines.append(
                    f"{half:10}{question:12}{len(pairs):>10}{'':4}{who:12}{accuracy:>9.4f}{recall:>8.3f}{precision:>10.3f}"
                )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--peer", action="append", choices=["negspacy", "medspacy"], default=[])
    parser.add_argument("--peer-python", action="append", default=[], help="interpreter of each --peer, in its order")
    parser.add_argument("--answer-as", choices=["negspacy", "medspacy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer_as:
        answer_as(options.answer_as)
        return
    cases = read_cases(options.data)
    started = time.perf_counter()
    answers = {"medfuse": ask_medfuse(cases)}
    took = time.perf_counter() - started
    pythons = [*options.peer_python, *[sys.executable] * len(options.peer)]
    for peer, python in zip(options.peer, pythons, strict=False):
        answers[peer] = ask_peer(cases, peer, python)
    lines = [*table(cases, answers), f"medfuse: {len(cases)} sentences in {took:.2f} s"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
