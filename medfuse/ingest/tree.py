"""The files of a folder, each with what tells whether it has changed; nothing is opened."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class FoundFile(NamedTuple):
    """A file, and what changes when it does.

    Args:
        path: Where it is.
        size: Bytes.
        modified_ns: Time of the last change.
        inode: Its number in the file system.
    """

    path: Path
    size: int
    modified_ns: int
    inode: int


@dataclass(slots=True)
class Tree:
    """The files in and below a folder.

    Args:
        root: The folder, or one file.
        files: Every file that is looked at: folder by folder, by name.
        n_hidden: Number of hidden files, and of names behind which there is no file.
    """

    root: Path
    files: list[FoundFile] = field(default_factory=list)
    n_hidden: int = 0

    @property
    def folder(self) -> Path:
        """The folder that names are relative to."""
        return self.root.parent if self.files and self.files[0].path == self.root else self.root


def list_tree(root: Path) -> Tree:
    """List the files in and below `root` in a fixed order.

    Hidden files and folders are left out. Links to folders are followed, each folder once, so that loops end.
    """
    tree = Tree(root)
    if root.is_file():
        tree.files.append(_found(root, root.stat()))
        return tree
    seen: set[tuple[int, int]] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.extend(reversed(_list_folder(folder, tree)))
    return tree


def _list_folder(folder: Path, tree: Tree) -> list[Path]:
    """Add the files of one folder to `tree`; gives the folders in it."""
    files, below = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                try:
                    if entry.is_dir():
                        if not name.startswith("."):
                            below.append(name)
                        continue
                    status = entry.stat()
                except OSError:
                    tree.n_hidden += 1
                    continue
                if name.startswith(".") or not stat.S_ISREG(status.st_mode):
                    tree.n_hidden += 1
                else:
                    files.append((name, status))
    except PermissionError:
        tree.n_hidden += 1
    files.sort(key=_name)
    tree.files.extend([_found(folder / name, status) for name, status in files])
    return [folder / name for name in sorted(below)]


def _name(pair: tuple[str, os.stat_result]) -> str:
    return pair[0]


def _found(path: Path, status: os.stat_result) -> FoundFile:
    return FoundFile(path, status.st_size, status.st_mtime_ns, status.st_ino)
