"""Many studies, unattended: every study ends with a result or a reason, and a killed run goes on where it stopped."""

from medfuse.batch.gates import Policy
from medfuse.batch.ledger import LEDGER_FILE, Ledger, LedgerRow, State
from medfuse.batch.pipeline import Job
from medfuse.batch.session import Plan, ScoringSession, SessionOptions, write_sources
from medfuse.batch.sources import Source, archive_source, folder_source, manifest_source, studies_source
from medfuse.batch.stages import ModelFacts, ModelOptions, StageFactories
from medfuse.batch.worker import Limits

__all__ = [
    "LEDGER_FILE",
    "Job",
    "Ledger",
    "LedgerRow",
    "Limits",
    "ModelFacts",
    "ModelOptions",
    "Plan",
    "Policy",
    "ScoringSession",
    "SessionOptions",
    "Source",
    "StageFactories",
    "State",
    "archive_source",
    "folder_source",
    "manifest_source",
    "studies_source",
    "write_sources",
]
