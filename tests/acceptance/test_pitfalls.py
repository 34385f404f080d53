"""The pitfalls of turning DICOM series into volumes: which row is held by which tests, and what medfuse says.

| row | pitfall | tests `test_row_NN_...` in | reason code or outcome |
|---|---|---|---|
| 1 | gantry tilt | test_geometry, test_multiframe | upright volume, provenance; sheared grid on request |
| 2 | missing slices | test_geometry, test_multiframe | MISSING_SLICES; interpolated on request, provenance |
| 3 | float jitter of positions | test_geometry | one volume |
| 4 | thin and thick blocks, uneven spacing | test_geometry | parts `block-N`; UNEVEN_SPACING, INCONSISTENT_GEOMETRY |
| 5 | one position twice | test_splitting | parts; DUPLICATE_INSTANCE, DUPLICATE_POSITIONS |
| 6 | localizers, mixed orientation or matrix | test_splitting | LOCALIZER; parts `orientation-N`, `matrix-N` |
| 7 | instance numbers, names, nesting | test_geometry | order by position |
| 8 | rescale a slice or frame | test_values | provenance; INVALID_RESCALE |
| 9 | Philips private scale, real world values | test_values | provenance |
| 10 | PET to SUV | test_suv | SUV, provenance; SUV_INPUT_MISSING |
| 11 | enhanced multi-frame, mosaics | test_multiframe | volumes and parts; MISSING_GEOMETRY, MOSAIC_UNREADABLE |
| 12 | signs, bits, padding | test_values | provenance |
| 13 | MONOCHROME1 | test_values | values unchanged |
| 14 | rescaled twice | test_values | HU_IMPLAUSIBLE |
| 15 | compressed syntaxes | test_values | PIXELS_UNDECODABLE, DECODER_MISSING |
| 16 | 4D in one series | test_splitting, test_multiframe | parts `echo-N`, `time-N`, `b-N`, `phase` ... |
| 17 | numbers that vary over one stack | test_splitting | one volume |
| 18 | anonymised files | test_folders | MISSING_GEOMETRY, MIXED_PATIENTS |
| 19 | no preamble, no meta header, cut files | test_folders | NO_PIXEL_DATA, TRUNCATED_FILE |
| 20 | row and column spacing | test_geometry | affine |
| 21 | slice thickness is no spacing | test_geometry | affine |
| 22 | feet first, prone, decubitus | test_geometry | affine, to NIfTI and back |
| 23 | NIfTI affines | test_nifti | INCONSISTENT_GEOMETRY |
| 24 | files that are no image | test_folders | STRUCTURED_REPORT, ENCAPSULATED_DOCUMENT, DERIVED_IMAGE ... |
| 25 | several series in a folder | test_folders | one volume a series |
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = re.compile(r"^\| (\d+) \| [^|]+ \| ([a-z_, ]+) \| ([^|]+) \|$", re.M)


def rows() -> dict[int, tuple[list[str], str]]:
    """Row -> the modules that hold it, and its outcome."""
    return {int(number): (modules.split(", "), said) for number, modules, said in TABLE.findall(__doc__ or "")}


def named_tests(module: str) -> Iterator[tuple[int, str]]:
    """The rows that a module's tests name."""
    for node in ast.parse((HERE / f"{module}.py").read_text()).body:
        if isinstance(node, ast.FunctionDef) and (named := re.match(r"test_row_(\d\d)(?:_and_(\d\d))?", node.name)):
            for number in filter(None, named.groups()):
                yield int(number), ast.unparse(node)


def test_the_table_holds_every_row() -> None:
    assert sorted(rows()) == list(range(1, 26))


@pytest.mark.parametrize("row", range(1, 26))
def test_every_row_has_a_test_where_the_table_says(row: int) -> None:
    modules, said = rows()[row]
    sources = {module: [text for number, text in named_tests(module) if number == row] for module in modules}
    assert all(sources.values()), f"row {row} has no test in {[name for name, found in sources.items() if not found]}"
    tested = " ".join((HERE / f"{module}.py").read_text() for module in modules)
    for code in re.findall(r"[A-Z]{3,}(?:_[A-Z]+)+", said):
        assert code in tested, f"row {row}: no test asserts {code}"


def test_no_test_names_a_row_that_the_table_does_not_place_there() -> None:
    for path in HERE.glob("test_*.py"):
        for number, _ in named_tests(path.stem):
            assert path.stem in rows()[number][0], f"{path.stem} tests row {number}: say so in the table"
