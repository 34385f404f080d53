"""An explanation -> a folder: `explanation.json`, and a NIfTI map a finding and method on the source grid."""

import json
import re
from pathlib import Path
from typing import Any

from medfuse.domain.study import Study
from medfuse.explain.explanation import Explanation, FindingExplanation
from medfuse.outputs.json import RESEARCH_USE
from medfuse.outputs.map_nifti import save_map
from medfuse.outputs.result import StudyResult
from medfuse.storage import whole_folder

FILE = "explanation.json"
SCHEMA_VERSION = 1

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")


def write_explanation(explanation: Explanation, study: Study, directory: Path) -> Path:
    """Write an explanation, whole or not at all; an older one there is replaced.

    What the source headers know of the patient's identity is overwritten in the words that are stored.

    Args:
        explanation: The explanation.
        study: Its study, for the headers.
        directory: The folder to write.

    Returns:
        The path of `explanation.json`.

    Raises:
        StorageError: It cannot be written.
        StudyError: The headers of the study can no longer be read.
    """
    text = json.dumps(document_of(explanation, study), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_folder(directory) as folder:
        for number, finding in enumerate(explanation.findings):
            for method, values in finding.maps.items():
                where = folder / map_name(number, finding.name, method)
                save_map(values, explanation.source_grid, where, f"{method} map of {finding.name}")
        (folder / FILE).write_text(text, encoding="utf-8")
    return directory / FILE


def document_of(explanation: Explanation, study: Study) -> dict[str, Any]:
    """What `explanation.json` holds, as plain data."""
    prediction = StudyResult(explanation.scored, study).prediction
    return {
        "schema_version": SCHEMA_VERSION,
        "research_use": RESEARCH_USE,
        "about": "Weights are in log-odds: positive speaks for the finding. Contributions are Shapley's values over "
        "the inputs; they add up to log_odds less log_odds_without_inputs. Words are weighed by taking them out. "
        "An explanation tells what moved this model, not what is true of the patient.",
        "study_instance_uid": prediction.study_instance_uid,
        "accession_number": prediction.accession_number,
        "model": {
            "name": prediction.model.name,
            "version": prediction.model.version,
            "weights_sha256": prediction.model.weights_sha256,
            "config_sha256": prediction.model.config_sha256,
            "leakage_allowed": prediction.model.leakage_allowed,
        },
        "series": [
            {"channel": made.channel, "series": made.series, "choice": made.choice} for made in prediction.preparation
        ],
        "sections_read": [name for name, is_read in explanation.sections.items() if is_read],
        "sections_not_read": [name for name, is_read in explanation.sections.items() if not is_read],
        "missing": list(prediction.missing),
        "findings": [
            _finding(number, finding, prediction.text_input) for number, finding in enumerate(explanation.findings)
        ],
    }


def map_name(number: int, finding: str, method: str) -> str:
    """The file of a map; a finding's name is data, so that only its letters and digits get into it."""
    plain = _NOT_IN_A_NAME.sub("-", finding.casefold()).strip("-")[:40]
    return f"{number:02d}{'-' if plain else ''}{plain}-{method}.nii.gz"


def _finding(number: int, finding: FindingExplanation, text: str) -> dict[str, Any]:
    return {
        "name": finding.name,
        "probability": finding.probability,
        "log_odds": finding.log_odds,
        "log_odds_without_inputs": finding.log_odds_without_inputs,
        "contributions": finding.contributions,
        "words": [
            {"start": word.start, "end": word.end, "word": text[word.start : word.end], "weight": word.weight}
            for word in finding.words
        ],
        "maps": {method: map_name(number, finding.name, method) for method in finding.maps},
    }
