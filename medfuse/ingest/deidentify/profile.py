"""What is done to an attribute: the Basic Profile of PS3.15 annex E, and the options that soften it.

The Basic Profile's column of table E.1-1 comes from dicom-anonymizer, which follows the standard edition by edition;
the newest that it holds is taken. Its 2026c table was compared with the standard's table as idiscore read it in
September 2024: the same action for every attribute, and 33 newer ones. Of the library only the table is used: its own
walk does not enter sequences, and its dates and UIDs are not consistent. deid and dicognito go by lists of their own;
idiscore holds the standard's columns, under the GPL. The option columns stand in `options`: an attribute that they do
not name is treated by the Basic Profile.
"""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from medfuse.ingest.deidentify import options as columns


class Action(StrEnum):
    """What becomes of an attribute; PS3.15 table E.1-1a, and `SHIFT` for a cleaned date."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    CLEAN = "C"
    SHIFT = "shift"
    KEEP = "K"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of PS3.15 section E.3 that can be asked for; all off is the Basic Profile.

    Clean Structured Content is always on: structured reports keep their tree, and their texts are scrubbed.

    Args:
        clean_descriptors: Keep descriptions (Series Description, Protocol Name, ...), scrubbed.
        retain_dates: Keep dates and times, moved by a number of days that is one a patient.
        retain_device: Keep what identifies the device.
        retain_patient_characteristics: Keep age (90 and above as 90), sex, size, weight, and the like.
        retain_safe_private: Keep the private attributes that are known to hold no identity.
        keep_burned_in: Write images that may show text too.
        reports: Write the texts of reports, scrubbed; otherwise reports are held back.
    """

    clean_descriptors: bool = False
    retain_dates: bool = False
    retain_device: bool = False
    retain_patient_characteristics: bool = False
    retain_safe_private: bool = False
    keep_burned_in: bool = False
    reports: bool = True

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code and meaning of the profile and each option (PS3.16 CID 7050)."""
        asked = {
            ("113105", "Clean Descriptors Option"): self.clean_descriptors,
            ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"): self.retain_dates,
            ("113108", "Retain Patient Characteristics Option"): self.retain_patient_characteristics,
            ("113109", "Retain Device Identity Option"): self.retain_device,
            ("113111", "Retain Safe Private Option"): self.retain_safe_private,
        }
        always = (
            ("113100", "Basic Application Confidentiality Profile"),
            ("113104", "Clean Structured Content Option"),
        )
        return (*always, *(code for code, is_on in asked.items() if is_on))

    def as_dict(self) -> dict[str, bool]:
        """The options by name."""
        return asdict(self)


@cache
def edition() -> str:
    """The newest edition of the standard that dicom-anonymizer holds, e.g. `2026c`."""
    package = importlib.import_module("dicomanonymizer.dicom_anonymization_databases")
    found = [re.fullmatch(r"dicomfields_(\d{4}[a-z]?)", name) for _, name, _ in pkgutil.iter_modules(package.__path__)]
    return max(match[1] for match in found if match)


@cache
def basic_profile() -> Mapping[int, Action]:
    """Tag -> action of the Basic Profile.

    Where the standard leaves the choice to the type of the attribute in its object (X/Z, X/D, ...), the answer is the
    one that every type allows: a dummy value before an empty one before removal.
    """
    table = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{edition()}")
    by_list = {
        "X_TAGS": Action.REMOVE,
        "Z_TAGS": Action.EMPTY,
        "X_Z_TAGS": Action.EMPTY,
        "D_TAGS": Action.DUMMY,
        "Z_D_TAGS": Action.DUMMY,
        "X_D_TAGS": Action.DUMMY,
        "X_Z_D_TAGS": Action.DUMMY,
        "U_TAGS": Action.UID,
        "X_Z_U_STAR_TAGS": Action.UID,
    }
    return {
        tag[0] << 16 | tag[1]: action
        for name, action in by_list.items()
        for tag in getattr(table, name)
        if len(tag) == 2  # curves and overlays, which repeat, go as whole groups
    }


class Profile:
    """The actions under a choice of options.

    Args:
        options: The choice.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._actions = dict(basic_profile())
        dates = {tag for tag in self._actions if dictionary_has_tag(tag) and dictionary_VR(tag) in ("DA", "DT", "TM")}
        if options.retain_device:
            self._set(columns.DEVICE - dates, Action.KEEP)
        if options.retain_patient_characteristics:
            self._set(columns.PATIENT_KEPT, Action.KEEP)
            self._set(columns.PATIENT_CLEANED, Action.CLEAN)
        if options.clean_descriptors:
            self._set(columns.DESCRIPTORS, Action.CLEAN)
        if options.retain_dates:
            self._set(dates - columns.BIRTH, Action.SHIFT)
            self._set(columns.TIME_ZONE, Action.KEEP)
        self._set(columns.STRUCTURED_CONTENT, Action.CLEAN)

    def action(self, tag: int, vr: str) -> Action | None:
        """The action for a public attribute; None where table and rules are silent.

        Attributes outside of the table are kept, as the standard has it, except for names, dates, addresses of servers
        and UIDs of instances, which are treated by their kind (value representation).
        """
        if tag in self._actions:
            return self._actions[tag]
        if vr == "UI":
            return None if tag in columns.CLASS_UIDS else Action.UID
        if vr in ("DA", "DT"):
            return Action.SHIFT if self.options.retain_dates else Action.DUMMY
        if vr == "PN":
            return Action.DUMMY
        return Action.EMPTY if vr in ("AE", "UR") else None

    def _set(self, tags: frozenset[int] | set[int], action: Action) -> None:
        self._actions.update(dict.fromkeys(tags, action))
