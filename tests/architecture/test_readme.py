"""The README tells the truth: its file list is the files, its commands exist, its links lead somewhere."""

import re
from pathlib import Path

import pytest

from medfuse.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def listed() -> set[str]:
    """The modules of the file list, as paths from the root."""
    block = README.split("## The files")[1].split("```")[1]
    folder, paths = "", set()
    for line in block.splitlines():
        found = re.match(r"(\s*)(\S+)", line)
        if not found:
            continue
        if not found[1]:
            folder = found[2] if found[2].endswith("/") else ""
        names = re.findall(r"[\w/]+\.py", line) if found[1] else [found[2]]
        paths |= {folder + name if found[1] else name for name in names if name.endswith(".py")}
    return paths


def test_the_file_list_is_the_files() -> None:
    files = [*(ROOT / "medfuse").rglob("*.py"), *(ROOT / "apps").rglob("*.py")]
    existing = {path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py"}
    assert listed() == existing


def test_the_commands_exist() -> None:
    blocks = "\n".join(README.split("```")[1::2])
    used = set(re.findall(r"^medfuse ([\w-]+)", blocks, flags=re.MULTILINE))
    assert used
    assert used <= set(COMMANDS)


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    used = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"demo", "test", "install", "review"} <= used
    assert used <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)|`((?:configs|data_manifests)/[\w./]+)`", README))
def test_the_links_lead_somewhere(path: tuple[str, str]) -> None:
    assert (ROOT / (path[0] or path[1])).exists()


def test_ci_runs_the_readmes_test_command() -> None:
    assert "\nmake test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "\nmake test " in README
