"""Who made a DICOM result: the same words in every object that medfuse writes.

Manufacturer and model are medfuse, the version is its own, and the serial number is the start of the weights' hash, so
that an archive can tell what each model said. Everything is marked as made for research.
"""

import re
from typing import TYPE_CHECKING, Any

import medfuse
from medfuse.domain import Code, ModelIdentity
from medfuse.ingest.uids import made_uid

if TYPE_CHECKING:
    from pydicom import Dataset

MAKER = "medfuse"
UTF8 = "ISO_IR 192"

_LONG_STRING = 64
_SERIES_NUMBER_OFFSET = 1000
_HASH_LENGTH = 16


def device(model: ModelIdentity | None) -> dict[str, Any]:
    """The equipment attributes (PS3.3 section C.7.5.1) as highdicom's constructors call them; None for no model."""
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": medfuse.__version__,
        "device_serial_number": serial_number(model),
    }


def serial_number(model: ModelIdentity | None) -> str:
    """The start of the weights' hash."""
    return "unknown" if model is None else text(model.weights_sha256[:_HASH_LENGTH], fallback="unknown")


def device_uid(model: ModelIdentity) -> str:
    """A UID of the model, the same for the same weights."""
    return made_uid("model", model.weights_sha256)


def algorithm(model: ModelIdentity) -> Any:
    """The Algorithm Identification Macro (PS3.3 section 10.16) of a model."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=text(f"{MAKER} {model.name}", fallback=MAKER),
        family=codes.CID7162.ArtificialIntelligence,
        version=text(model.version, fallback="unknown"),
        source=MAKER,
        parameters={"weights_sha256": model.weights_sha256, "config_sha256": model.config_sha256},
    )


def series_number(source: "Dataset", kind: int) -> int:
    """Series Number of a result: that of its source, and a thousand for each kind of object."""
    return kind * _SERIES_NUMBER_OFFSET + max(0, int(source.get("SeriesNumber") or 0))


def series_description(model: ModelIdentity, what: str = "") -> str:
    """Series Description (0008,103E): the model, what the series holds, and that it is for research."""
    before, after = f"{MAKER} ", f"{' ' if what else ''}{what} (research use)"
    name = text(model.name, fallback="model")[: _LONG_STRING - len(before) - len(after)]
    return f"{before}{name}{after}"


def new_uid() -> str:
    """A UID for a new object."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def coded(code: Code) -> Any:
    """A code as highdicom takes it."""
    import highdicom as hd

    return hd.sr.CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def person_name(words: str) -> str:
    """What somebody signs with as a person name (PS3.5 section 6.2.1), all of it the family name complex if need be."""
    cleaned = re.sub(r"[=\\\x00-\x1f\x7f]", " ", words)
    name = text(cleaned, fallback="unknown")[: _LONG_STRING - 1]
    return name if "^" in name else f"{name}^"


def text(words: str, *, fallback: str) -> str:
    """`words` as a DICOM long string (PS3.5 section 6.2): no backslash, no control character, 64 characters at most."""
    cleaned = " ".join(re.sub(r"[\\\x00-\x1f\x7f]", " ", words).split())[:_LONG_STRING].strip()
    return cleaned or fallback
