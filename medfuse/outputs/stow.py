"""Store objects by STOW-RS (PS3.18 section 10.5), one a request, so that an archive that refuses one takes the others.

dicomweb-client builds the request. The connection, its secrets and the words for what goes wrong are those of
`medfuse.ingest.network.dicomweb`.
"""

from io import BytesIO
from typing import Any

import pydicom
import requests
from pydicom import Dataset

from medfuse.ingest.dicom.files import quiet
from medfuse.ingest.network.dicomweb import DicomwebArchive
from medfuse.outputs.sending import ObjectRefusedError, ResultObject

_REFUSALS = frozenset({400, 409, 413, 415, 422})
"""What a server answers because of the object: broken, in conflict, too large, of a kind that it does not take."""

_REASONS = {
    0x0110: "it could not process it",
    0x0111: "it has another object of that UID",
    0x0122: "it does not take objects of that kind",
    0x0124: "it does not allow it",
}


class StowSender(DicomwebArchive):
    """A connection to a DICOMweb server that stores objects."""

    def send(self, result: ResultObject, data: bytes) -> None:
        """Store one object; see `Sender`."""
        with self._understood():
            dataset = pydicom.dcmread(BytesIO(data))
            try:
                answer = self._client.store_instances([dataset], result.study_instance_uid)
            except requests.HTTPError as error:
                self._raise_if_refused(error.response)
                raise
            with quiet():
                failed = answer.get("FailedSOPSequence") or ()
                reasons = [int(item.get("FailureReason") or 0) for item in failed]
        if reasons:
            raise self._refusal(reasons)

    def _raise_if_refused(self, response: requests.Response | None) -> None:
        if response is not None and response.status_code in _REFUSALS:
            reasons = _failure_reasons(response)
            if reasons:
                raise self._refusal(reasons)
            raise ObjectRefusedError(f"{self._server.where} refused it with HTTP {response.status_code}")

    def _refusal(self, reasons: list[int]) -> ObjectRefusedError:
        code = reasons[0]
        said = _REASONS.get(code, "see the conformance statement of the archive")
        return ObjectRefusedError(f"{self._server.where} refused it with reason 0x{code:04X}: {said}")


def _failure_reasons(response: requests.Response) -> list[int]:
    """The failure reasons (0008,1197) of an answer, if it is one."""
    try:
        answer: Any = response.json()
        dataset = Dataset.from_json(answer[0] if isinstance(answer, list) else answer)
        return [int(item.FailureReason) for item in dataset.get("FailedSOPSequence") or ()]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return []
