"""Which coded words DICOM has for a segment, found by its name.

Every code is looked up in pydicom's copy of PS3.16, by its meaning, so that none can be mistyped here: anatomy in CID
7192 (Anatomical Structure Segmentation Property Types), what is abnormal in CID 7194 (Morphologically Abnormal
Structure Segmentation Property Types), and the words that narrow either (left, anterior) in CID 2 (Anatomic Modifier).
A name that says nothing known becomes plain `Tissue`; its own words are still there as the Segment Label.
"""

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medfuse.domain import Code, Segment

if TYPE_CHECKING:
    from pydicom.sr.coding import Code as DicomCode

_SAME_AS = {
    "enhancing tumor": "enhancing lesion",
    "gtv": "neoplasm",
    "haemorrhage": "hemorrhage",
    "hippocampal structure": "hippocampus",
    "kidneys": "kidney",
    "lung nodule": "nodule",
    "lungs": "lung",
    "necrotic core": "necrosis",
    "oedema": "edema",
    "peritumoral edema": "edema",
    "pulmonary nodule": "nodule",
    "tumor": "neoplasm",
    "tumour": "neoplasm",
    "vertebrae": "vertebra",
}
_HIPPOCAMPUS_PARTS = {"head": "anterior", "tail": "posterior"}
_MODIFIERS = frozenset({"anterior", "posterior", "left", "right", "superior", "inferior", "medial", "lateral"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentCodes:
    """The coded concepts of one segment (PS3.3 section C.8.20.2, Segment Description Macro).

    Args:
        category: Segmented Property Category (0062,0003), from CID 7150.
        type: Segmented Property Type (0062,000F).
        modifiers: Segmented Property Type Modifiers (0062,0011), e.g. anterior; may be empty.
    """

    category: Code
    type: Code
    modifiers: tuple[Code, ...] = ()


def codes_for(segment: Segment) -> SegmentCodes:
    """The codes of a segment: its own where it has both, else by its name, else plain tissue."""
    if segment.category is not None and segment.type is not None:
        return SegmentCodes(category=segment.category, type=segment.type)
    return _by_name(" ".join(re.findall(r"[^\W_]+", segment.name.lower())))


def _by_name(name: str) -> SegmentCodes:
    from pydicom.sr.codedict import codes

    whole = _category_and_type(name)
    if whole is not None:
        return SegmentCodes(category=whole[0], type=whole[1])
    words = name.split()
    narrowing = [_HIPPOCAMPUS_PARTS.get(word, word) if "hippocampus" in words else word for word in words]
    modifiers = tuple(dict.fromkeys(word for word in narrowing if word in _MODIFIERS))
    rest = " ".join(word for word, narrow in zip(words, narrowing, strict=True) if narrow not in _MODIFIERS)
    core = _category_and_type(rest) if modifiers else None
    if core is not None:
        chosen = tuple(_code(getattr(codes.CID2, word.capitalize())) for word in modifiers)
        return SegmentCodes(category=core[0], type=core[1], modifiers=chosen)
    tissue = _code(codes.CID7150.Tissue)
    return SegmentCodes(category=tissue, type=tissue)


def _category_and_type(name: str) -> tuple[Code, Code] | None:
    return _dictionary().get(_SAME_AS.get(name, name))


@functools.cache
def _dictionary() -> dict[str, tuple[Code, Code]]:
    """Meaning in lower case -> category and type; anatomy wins where both lists have a meaning."""
    from pydicom.sr.codedict import codes

    found: dict[str, tuple[Code, Code]] = {}
    for collection, category in (
        (codes.CID7194, codes.CID7150.MorphologicallyAbnormalStructure),
        (codes.CID7192, codes.CID7150.AnatomicalStructure),
    ):
        for code in collection.concepts.values():
            found[code.meaning.lower()] = (_code(category), _code(code))
    return found


def _code(code: "DicomCode") -> Code:
    return Code(value=code.value, scheme=code.scheme_designator, meaning=code.meaning)
