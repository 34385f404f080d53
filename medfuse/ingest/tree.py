"""The files of a folder, each with what tells whether it has changed; nothing is opened."""

import os
import stat
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple


class FoundFile(NamedTuple):
    """A file, and what changes when it does.

    Args:
        path: Where it is.
        size: Bytes.
        modified_ns: Time of the last change of its content.
        changed_ns: Time of the last change of anything, permissions included.
        inode: Its number in the file system.
    """

    path: Path
    size: int
    modified_ns: int
    changed_ns: int
    inode: int


@dataclass(slots=True)
class Tree:
    """The files in and below a folder.

    Args:
        root: The folder, or one file.
        files: Every file that is looked at: folder by folder, by name.
        marks: What changes with the files, folder by folder.
        n_hidden: Number of hidden files, and of names behind which there is no file.
    """

    root: Path
    files: list[FoundFile] = field(default_factory=list)
    n_hidden: int = 0
    marks: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """Changes when a name, size, time or inode does."""
        whole = "\n".join([*self.marks, str(self.n_hidden)])
        return blake2b(whole.encode(errors="surrogateescape"), digest_size=16).hexdigest()

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
        status = root.stat()
        tree.files.append(_found(root, status))
        tree.marks.append(_mark(root.name, status))
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
    tree.marks.append(str(folder))
    tree.marks.extend([_mark(name, status) for name, status in files])
    tree.files.extend([_found(folder / name, status) for name, status in files])
    return [folder / name for name in sorted(below)]


def _name(pair: tuple[str, os.stat_result]) -> str:
    return pair[0]


def _mark(name: str, status: os.stat_result) -> str:
    return f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{status.st_ino}"


def _found(path: Path, status: os.stat_result) -> FoundFile:
    return FoundFile(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
