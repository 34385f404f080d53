"""The coded words of reports: what was found, how sure the model is, what was measured.

A finding's code is looked up by its name in pydicom's copy of PS3.16, SNOMED CT first, then RadLex, then DICOM's own.
What has no code there gets one of medfuse's, in the private scheme `99MEDFUSE` (PS3.16 section 8: schemes that begin
with `99` are private), whose meaning is the name itself. `declare_private_codes` says in an object what that scheme is.
"""

import functools
import hashlib
import re
from typing import TYPE_CHECKING

from medfuse.domain import Code, Quantity
from medfuse.outputs.equipment import text

if TYPE_CHECKING:
    from pydicom import Dataset

PRIVATE_SCHEME = "99MEDFUSE"

_SCHEMES = ("SCT", "RADLEX", "DCM")
_FINDING_LISTS = (
    "CID6102",  # chest finding or feature
    "CID6104",  # abnormal opacity
    "CID6105",  # abnormal lucency
    "CID6106",  # abnormal texture
    "CID6148",  # mediastinum
    "CID7159",  # lesion segmentation types
    "CID7194",  # morphologically abnormal structures
    "CID6335",  # assessment of multi-parametric MRI, which lists morphologies
    "CID12236",  # echocardiography: effusions
    "CID12248",  # cardiac ultrasound summary
    "CID6347",  # prostate MRI, outside the prostate
    "CID645",  # fluids
)
"""The context groups of PS3.16 that name what an image shows."""

_SAME_AS = {
    "enlarged lymph nodes": "lymphadenopathy",
    "ground glass": "ground glass opacity",
    "haemorrhage": "hemorrhage",
    "lung mass": "mass",
    "lung nodule": "nodule",
    "lung opacity": "opacity",
    "mosaic attenuation pattern": "mosaic pattern",
    "oedema": "edema",
    "pulmonary nodule": "nodule",
    "tumor": "neoplasm",
    "tumour": "neoplasm",
}
_CODE_LENGTH = 16
_HASH_LENGTH = 8

MEAN_NAMES = {
    Quantity.HOUNSFIELD: Code(value="112031", scheme="DCM", meaning="Attenuation Coefficient"),
    Quantity.SUV: Code(value="126400", scheme="DCM", meaning="Standardized Uptake Value"),
}
"""What the mean inside a segment is a mean of; `mean_name` knows the others."""

MEAN_UNITS = {
    Quantity.HOUNSFIELD: Code(value="[hnsf'U]", scheme="UCUM", meaning="Hounsfield unit"),
    Quantity.SUV: Code(value="g/ml{SUVbw}", scheme="UCUM", meaning="Standardized Uptake Value body weight"),
    Quantity.ARBITRARY: Code(value="1", scheme="UCUM", meaning="no units"),
}
"""The unit of that mean."""

PROBABILITY = Code(value="122157", scheme="DCM", meaning="Probability")
NO_UNITS = MEAN_UNITS[Quantity.ARBITRARY]
VOLUME = Code(value="118565006", scheme="SCT", meaning="Volume")
CUBIC_MM = Code(value="mm3", scheme="UCUM", meaning="cubic millimeter")
MM = Code(value="mm", scheme="UCUM", meaning="millimeter")
AXIAL_DIAMETER = Code(value="103339001", scheme="SCT", meaning="Long axis")
DIAMETER_3D = Code(value="L0JK", scheme="IBSI", meaning="Maximum 3D Diameter of a Mesh")
MEAN = Code(value="373098007", scheme="SCT", meaning="Mean")
STANDARD_DEVIATION = Code(value="386136009", scheme="SCT", meaning="Standard Deviation")
PRESENCE = Code(value="121052", scheme="DCM", meaning="Presence of property")
PRESENT = Code(value="52101004", scheme="SCT", meaning="Present")
ABSENT = Code(value="272519000", scheme="SCT", meaning="Absent")
UNDETERMINED = Code(value="373068000", scheme="SCT", meaning="Undetermined")
COMMENT = Code(value="121106", scheme="DCM", meaning="Comment")
IMAGE_QUALITY = Code(value="111101", scheme="DCM", meaning="Image Quality")


def finding_code(name: str) -> Code:
    """The code of a finding, by its name."""
    words = " ".join(re.findall(r"[^\W_]+", name.lower()))
    return _dictionary().get(_SAME_AS.get(words, words)) or private_code(name)


def mean_name(quantity: Quantity, modality: str) -> Code:
    """What the mean inside a segment is a mean of."""
    if quantity is Quantity.ARBITRARY:
        if modality == "MR":
            return Code(value="110852", scheme="DCM", meaning="MR signal intensity")
        return private_code("voxel value")
    return MEAN_NAMES[quantity]


def unit_code(unit: str) -> Code:
    """A unit in UCUM: as it is where DICOM lists it (CID 7181), else as an annotation, e.g. `{points}`."""
    from pydicom.sr.codedict import codes

    if not unit:
        return NO_UNITS
    for code in codes.CID7181.concepts.values():
        if code.value == unit:
            return Code(value=code.value, scheme=code.scheme_designator, meaning=code.meaning)
    plain = re.sub(r"[^!-z|~]", "", unit)[: _CODE_LENGTH - 2]
    return Code(value=f"{{{plain}}}", scheme="UCUM", meaning=text(unit, fallback="no units")) if plain else NO_UNITS


def private_code(name: str) -> Code:
    """A code of medfuse's own: the name in capitals where it fits, else its start and a hash."""
    value = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    if len(value) > _CODE_LENGTH or not value or not name.isascii():
        digest = hashlib.blake2b(name.encode(), digest_size=_HASH_LENGTH // 2).hexdigest().upper()
        value = f"{value[: _CODE_LENGTH - _HASH_LENGTH - 1]}_{digest}".strip("_")
    return Code(value=value, scheme=PRIVATE_SCHEME, meaning=text(name.replace("_", " "), fallback="unnamed"))


def declare_private_codes(dataset: "Dataset") -> None:
    """Say what `99MEDFUSE` is, in an object that may use it (PS3.3 section C.12.1, Coding Scheme Identification)."""
    from pydicom import Dataset

    scheme = Dataset()
    scheme.CodingSchemeDesignator = PRIVATE_SCHEME
    scheme.CodingSchemeName = "Codes of medfuse for what the standard schemes do not name"
    scheme.CodingSchemeResponsibleOrganization = "medfuse"
    dataset.CodingSchemeIdentificationSequence = [scheme]


@functools.cache
def _dictionary() -> dict[str, Code]:
    """Meaning in lower case -> code; where lists differ, the scheme that comes first wins, then the list."""
    from pydicom.sr.codedict import codes

    listed = [code for name in _FINDING_LISTS for code in getattr(codes, name).concepts.values()]
    found: dict[str, Code] = {}
    for scheme in _SCHEMES:
        for code in listed:
            if code.scheme_designator == scheme:
                known = Code(value=code.value, scheme=scheme, meaning=code.meaning)
                found.setdefault(code.meaning.lower(), known)
    return found
