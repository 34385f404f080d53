"""Clean one DICOM object in place, its sequences too, and count what was done.

Beyond the table: private attributes go unless known to be safe, unknown ones go, overlays and curves go as whole
groups, bits of overlays that hide beside the pixels are cleared, and every text that stays is searched for what the
headers name.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

import medfuse
from medfuse.ingest.deidentify.dates import shifted_value
from medfuse.ingest.deidentify.options import DEVICE, SAFE_PRIVATE
from medfuse.ingest.deidentify.profile import Action, Profile, edition
from medfuse.ingest.deidentify.secret import Secret
from medfuse.ingest.deidentify.text import Scrubber
from medfuse.ingest.dicom.files import READ_ERRORS

DUMMY_TEXT = "REMOVED"
"""What stands where a value is required and none may be kept."""

_TEXTS = frozenset({"CS", "LO", "LT", "SH", "ST", "UC", "UT"})
_LONG_TEXTS = frozenset({"LT", "ST", "UT"})
_NUMBERS = frozenset({"FD", "FL", "OF", "OD", "SL", "SS", "SV", "UL", "US", "UV", "DS", "IS"})
_LONGEST = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "ST": 1024, "LT": 10240}
_DUMMIES: dict[str, Any] = {
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    "AT": 0,
    "UR": "removed:",
}
_IDENTITY_CONCEPTS = frozenset(
    {
        *("121009", "121012", "121013", "121016", "121017", "110119", "128774"),  # observers (PS3.16 TID 1003, 1004)
        *("121020", "121021", "121022", "121029", "121030", "121031"),  # procedure, subject (TID 1005 to 1007)
    }
)
_OVERLAYS, _CURVES = 0x6000, 0x5000
_PERSON_CODES = "PersonIdentificationCodeSequence"


@dataclass(slots=True)
class Tally:
    """What was done, by attribute.

    Args:
        counts: `(keyword or kind, tag, action)` -> number of elements.
    """

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, tag: BaseTag, action: str) -> None:
        """Count one element; private and unknown ones are counted by kind, since their creators are free text."""
        if tag.is_private:
            self.counts["private attributes", f"({tag.group:04X},xxxx)", action] += 1
        else:
            name = keyword_for_tag(tag) or "unknown attributes"
            self.counts[name, f"({tag.group:04X},{tag.element:04X})", action] += 1


class Cleaner:
    """Cleans the objects of one patient.

    Args:
        profile: What becomes of each attribute.
        secret: Makes UIDs and the shift of dates.
        identifier: What tells the patient from others, e.g. the Patient ID.
        scrubber: Cleans texts.
    """

    def __init__(self, profile: Profile, secret: Secret, identifier: str, scrubber: Scrubber) -> None:
        self._profile = profile
        self._secret = secret
        self._pseudonym = secret.patient(identifier)
        self._shift = secret.day_shift(identifier)
        self._scrubber = scrubber

    def clean(self, dataset: FileDataset) -> Tally:
        """Clean an object with its meta header.

        Returns:
            What was done.

        Raises:
            ValueError: Its pixels hold an overlay that cannot be cleared without decoding them.
        """
        tally = Tally()
        _clear_hidden_overlays(dataset, tally)
        self._clean(dataset, tally)
        dataset.PatientID = self._pseudonym
        dataset.PatientName = self._pseudonym
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = [f"medfuse {medfuse.__version__}", f"DICOM PS3.15 {edition()} annex E"]
        dataset.DeidentificationMethodCodeSequence = Sequence(
            _code(value, "DCM", meaning) for value, meaning in self._profile.options.codes
        )
        dataset.LongitudinalTemporalInformationModified = (
            "MODIFIED" if self._profile.options.retain_dates else "REMOVED"
        )
        _renew_meta(dataset)
        return tally

    def _clean(self, dataset: Dataset, tally: Tally) -> None:
        creators = _safe_blocks(dataset) if self._profile.options.retain_safe_private else {}
        is_identity = _names_an_observer(dataset)
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
            except READ_ERRORS:
                del dataset[tag]
                tally.add(tag, Action.REMOVE)
                continue
            if element.tag.is_private:
                self._clean_private(dataset, element, creators, tally)
            elif _goes_with_its_group(element.tag) or not _is_known(element):
                del dataset[tag]
                tally.add(element.tag, Action.REMOVE)
            elif is_identity and element.keyword == "TextValue":
                element.value = DUMMY_TEXT
                tally.add(element.tag, Action.DUMMY)
            else:
                self._treat(dataset, element, tally)

    def _treat(self, dataset: Dataset, element: DataElement, tally: Tally) -> None:
        action = self._profile.action(int(element.tag), element.VR)
        if action is Action.REMOVE:
            del dataset[element.tag]
        elif element.VR == "SQ":
            self._treat_sequence(element, action, tally)
        elif action is Action.EMPTY:
            element.value = None if element.VR in _NUMBERS else ""
        elif action is Action.DUMMY:
            element.value = _dummy(element)
        elif action is Action.UID:
            element.value = _mapped(element.value, self._secret.uid)
        elif action is Action.SHIFT:
            element.value = _mapped(element.value, lambda value: shifted_value(value, element.VR, self._shift))
        elif action is Action.KEEP:
            _cap_age(element)
            if int(element.tag) not in DEVICE:  # what was asked for is also what texts are searched for
                self._search(element, tally)
            tally.add(element.tag, Action.KEEP)
            return
        else:
            self._clean_text(element, tally, is_free=action is Action.CLEAN or element.VR in _LONG_TEXTS)
            return
        if action is not None:
            tally.add(element.tag, action)

    def _treat_sequence(self, element: DataElement, action: Action | None, tally: Tally) -> None:
        """Items are cleaned one by one; codes of persons are replaced as a whole."""
        if action is Action.EMPTY:
            element.value = Sequence()
        elif element.keyword == _PERSON_CODES or (action is Action.DUMMY and element.keyword.endswith("CodeSequence")):
            element.value = Sequence([_code("0", "99MEDFUSE", DUMMY_TEXT)])
        else:
            for item in element.value:
                self._clean(item, tally)
        if action in (Action.EMPTY, Action.DUMMY):
            tally.add(element.tag, action)

    def _clean_text(self, element: DataElement, tally: Tally, *, is_free: bool) -> None:
        if element.VR not in _TEXTS:
            return
        if not is_free:
            self._search(element, tally)
            return
        found: Counter[str] = Counter()
        element.value = _mapped(element.value, lambda text: _fitting(self._scrubber.scrub(text), element.VR, found))
        tally.add(element.tag, Action.CLEAN if found else "C, nothing found")

    def _search(self, element: DataElement, tally: Tally) -> None:
        """Take what the headers name out of a text that is otherwise kept."""
        if element.VR in _TEXTS:
            found: Counter[str] = Counter()
            value = _mapped(element.value, lambda text: _fitting(self._scrubber.scrub_known(text), element.VR, found))
            if found:
                element.value = value
                tally.add(element.tag, Action.CLEAN)

    def _clean_private(
        self, dataset: Dataset, element: DataElement, safe: dict[tuple[int, int], frozenset[int]], tally: Tally
    ) -> None:
        """Keep the numbers and short codes of the safe elements, and the creators of their blocks."""
        block = (element.tag.group, element.tag.element >> 8 or element.tag.element)
        numbers = safe.get(block)
        is_creator = 0x10 <= element.tag.element <= 0xFF
        is_plain = element.VR in _NUMBERS or element.VR == "CS"
        if numbers is not None and (is_creator or (element.tag.element & 0xFF in numbers and is_plain)):
            self._search(element, tally)
            tally.add(element.tag, Action.KEEP)
            return
        del dataset[element.tag]
        tally.add(element.tag, Action.REMOVE)


def _names_an_observer(item: Dataset) -> bool:
    """Whether a content item tells who observed, or which patient or order it was."""
    concepts = item.get("ConceptNameCodeSequence") if item.get("ValueType") == "TEXT" else None
    return any(str(concept.get("CodeValue", "")) in _IDENTITY_CONCEPTS for concept in concepts or [])


def _goes_with_its_group(tag: BaseTag) -> bool:
    """Overlays, curves, and group lengths, which would be wrong."""
    return tag.element == 0 or (tag.group & 0xFF00 in (_OVERLAYS, _CURVES) and tag.group % 2 == 0)


def _is_known(element: DataElement) -> bool:
    return dictionary_has_tag(element.tag) and element.VR != "UN"


def _safe_blocks(dataset: Dataset) -> dict[tuple[int, int], frozenset[int]]:
    """`(group, block)` of each private block with safe elements -> their numbers."""
    blocks = {}
    for tag in dataset.keys():  # noqa: SIM118  a dataset iterates over its elements
        if tag.is_private and 0x10 <= tag.element <= 0xFF:
            known = SAFE_PRIVATE.get(str(dataset[tag].value).strip().upper(), {}).get(tag.group)
            if known:
                blocks[tag.group, tag.element] = frozenset(int(number, 16) for number in known.split())
    return blocks


def _mapped(value: Any, change: Any) -> Any:
    """A value, or each of several, changed; empty ones stay."""
    if isinstance(value, MultiValue | list):
        return [change(str(part)) if part not in (None, "") else part for part in value]
    return change(str(value)) if value not in (None, "") else value


def _fitting(scrubbed: tuple[str, Counter[str]], vr: str, found: Counter[str]) -> str:
    """A scrubbed text within the length and letters of its value representation."""
    text, counts = scrubbed
    found.update(counts)
    if not counts:
        return text
    if vr == "CS":
        return DUMMY_TEXT
    return text[: _LONGEST.get(vr, len(text))]


def _dummy(element: DataElement) -> Any:
    if element.VR in _DUMMIES:
        return _DUMMIES[element.VR]
    if element.VR in ("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"):
        return 0
    return b"\0\0" if element.VR in ("OB", "OD", "OF", "OL", "OV", "OW", "UN") else DUMMY_TEXT


def _cap_age(element: DataElement) -> None:
    """Ages above 89 are rare enough to tell a person: they become 90 years."""
    age = str(element.value or "")
    if element.VR == "AS" and age[:3].isdigit() and age.endswith("Y") and int(age[:3]) >= 90:
        element.value = "090Y"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _clear_hidden_overlays(dataset: FileDataset, tally: Tally) -> None:
    """Clear the bits beside the pixels' own, where older objects keep overlays (PS3.5 section 8.1.2)."""
    groups = {tag.group for tag in dataset.keys() if tag.group & 0xFF00 == _OVERLAYS and tag.group % 2 == 0}  # noqa: SIM118
    hidden = [group for group in groups if (group, 0x0102) in dataset and dataset[group, 0x0102].value]
    stored, allocated = int(dataset.get("BitsStored") or 0), int(dataset.get("BitsAllocated") or 0)
    if not hidden or "PixelData" not in dataset or stored >= allocated or allocated not in (8, 16, 32):
        return
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        raise ValueError("an overlay in compressed pixels")
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    n_pixels = len(dataset.PixelData) * 8 // allocated
    pixels = np.frombuffer(dataset.PixelData, dtype=f"{order}u{allocated // 8}", count=n_pixels).astype(np.int64)
    low = int(dataset.get("HighBit") or stored - 1) - stored + 1
    own = ((1 << stored) - 1) << low
    cleared = pixels & own
    if dataset.get("PixelRepresentation"):
        negative = (cleared >> (low + stored - 1)) & 1 == 1
        cleared[negative] |= (1 << allocated) - (1 << (low + stored))
    rest = dataset.PixelData[n_pixels * allocated // 8 :]
    dataset.PixelData = cleared.astype(f"{order}u{allocated // 8}").tobytes() + rest
    tally.counts["overlay bits in PixelData", "(7FE0,0010)", Action.REMOVE] += 1


def _renew_meta(dataset: FileDataset) -> None:
    """A meta header of nothing but what the file needs, and a preamble of zeros (PS3.10 section 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(dataset.file_meta.TransferSyntaxUID)
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"PYDICOM {'.'.join(pydicom.__version__.split('.')[:2])}"
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
