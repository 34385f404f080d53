"""The contract of an importer, and how the one that fits a folder is found.

    @IMPORTERS.register("our_trial")
    class OurTrial(Importer):
        name = "our_trial"

        def matches(self, root: Path) -> bool: ...
        def studies(self, root: Path) -> ScanResult: ...

Importing the module registers it. A package that is installed names the module in its entry points, so that medfuse
finds it by itself:

    [project.entry-points."medfuse.importers"]
    our_trial = "our_package.our_trial"

A data set that is DICOM in folders needs no importer: `find_studies` reads it. An importer is for what the files do not
say themselves: names that mean a sequence or a patient, tables of labels and reports, delineations in a format of
their own.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

from medfuse.domain import Provenance, Study
from medfuse.errors import UsageError
from medfuse.ingest.labels import Labels
from medfuse.ingest.scan import ScanResult
from medfuse.registry import Registry

IMPORTERS: Registry["Importer"] = Registry("importer")

PLUGIN_GROUP = "medfuse.importers"
"""Entry points of this group are modules that register importers."""


class Importer(ABC):
    """One layout that public data come in.

    Attributes:
        name: Its name in the registry.
        label_provenance: Where the labels that it joins come from.
    """

    name: ClassVar[str]
    label_provenance: ClassVar[Provenance] = Provenance.READER

    @abstractmethod
    def matches(self, root: Path) -> bool:
        """Whether `root` has this layout; looks at a few names and at one small file at most, and never raises."""

    @abstractmethod
    def studies(self, root: Path) -> ScanResult:
        """Every study under `root`.

        All studies of one patient share a `patient_key`, the UIDs are the same on every machine, and `Study.path` is
        what has to be scanned to find the study again. A file that cannot be used is a line in `Study.problems` or a
        `Rejected`, and the others go on.

        Raises:
            UsageError: The data set's own description cannot be read, or contradicts the layout.
        """

    def labels(self, root: Path, studies: Sequence[Study]) -> Labels | None:
        """The labels that come with the data set, of these studies only and keyed by their UIDs; None for none.

        Raises:
            ManifestError: A table of labels is there and cannot be read.
        """
        del root, studies
        return None


def find_importer(root: Path) -> Importer | None:
    """The importer whose layout `root` has, or None for a folder that `find_studies` reads by content.

    Importers that a plug-in registered are asked first, so that they may take over a layout.

    Raises:
        UsageError: A plug-in that is installed cannot be imported.
    """
    if not root.is_dir():
        return None
    load_plugins()
    names = sorted(IMPORTERS.names(), key=lambda name: (_is_built_in(name), name))
    importers = (IMPORTERS.build(name) for name in names)
    return next((importer for importer in importers if importer.matches(root)), None)


@cache
def load_plugins() -> None:
    """Import the modules that installed packages name as plug-ins, once a process.

    Raises:
        UsageError: One of them cannot be imported.
    """
    for point in entry_points(group=PLUGIN_GROUP):
        try:
            point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"the importer {point.name} of an installed package cannot be loaded from {point.value}: {error}; "
                "correct or uninstall the package"
            ) from error


def _is_built_in(name: str) -> bool:
    return IMPORTERS.get(name).__module__.startswith(__package__ or __name__)
