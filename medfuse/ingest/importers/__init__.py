"""Public data sets' own layouts, each read into studies by one module and named in one registry."""

from medfuse.ingest.importers.base import IMPORTERS, Importer, find_importer
from medfuse.ingest.importers.bids import BIDS
from medfuse.ingest.importers.brats import BraTS
from medfuse.ingest.importers.ct_rate import CTRate
from medfuse.ingest.importers.decathlon import Decathlon
from medfuse.ingest.importers.idc import IDC
from medfuse.ingest.importers.lidc import LIDC, read_lidc_segmentation
from medfuse.ingest.importers.lidc_nodules import LidcNodules
from medfuse.ingest.importers.nnunet import NNUNet
from medfuse.ingest.importers.totalsegmentator import TotalSegmentator

__all__ = [
    "BIDS",
    "IDC",
    "IMPORTERS",
    "LIDC",
    "BraTS",
    "CTRate",
    "Decathlon",
    "Importer",
    "LidcNodules",
    "NNUNet",
    "TotalSegmentator",
    "find_importer",
    "read_lidc_segmentation",
]
