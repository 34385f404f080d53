"""Every reason code stands in the table that users read."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def codes_in_the_source() -> set[str]:
    """The constants given as `reason=`, and the defaults of the error classes."""
    codes = set()
    for path in (ROOT / "medfuse").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "reason":
                codes |= {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "default_reason":
                codes |= {part.value for part in ast.walk(node.value or node) if isinstance(part, ast.Constant)}
    return {code for code in codes if isinstance(code, str) and code.isupper()}


def test_every_reason_code_is_explained() -> None:
    table = (ROOT / "data_manifests" / "reasons.md").read_text(encoding="utf-8")
    codes = codes_in_the_source()
    assert len(codes) > 40
    assert sorted(code for code in codes if f"`{code}`" not in table) == []
