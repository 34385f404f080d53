"""The README tells the truth: its file list is the files, its commands exist, its links lead somewhere."""

import re
from pathlib import Path

import pytest

from medfuse.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def listed() -> set[str]:
    """The modules and packages of the file list, as paths from the root."""
    block = README.split("## The files")[1].split("```")[1]
    folders: list[tuple[int, str]] = [(-1, "")]
    paths = set()
    for line in filter(str.strip, block.splitlines()):
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        while folders[-1][0] >= indent:
            folders.pop()
        path = folders[-1][1] + name
        paths.add(path)
        if name.endswith("/"):
            folders.append((indent, path))
    return {path for path in paths if path.startswith(("medfuse/", "apps/"))}


def test_the_file_list_is_the_packages() -> None:
    files = [*(ROOT / "medfuse").rglob("__init__.py"), *(ROOT / "apps").rglob("__init__.py")]
    packages = {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in files} - {"medfuse/", "apps/"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "medfuse").glob("[!_]*.py")}
    assert listed() == packages | modules


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
