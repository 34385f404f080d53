"""Store objects by C-STORE (PS3.4 annex B) over one association, which is opened anew after it broke.

The connection, its encryption and the words for what goes wrong are those of `medfuse.ingest.network.dimse`.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from io import BytesIO

import pydicom
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from medfuse.errors import ServerError
from medfuse.ingest.network.dimse import DimseArchive
from medfuse.ingest.network.servers import DimseServer
from medfuse.outputs.sending import ObjectRefusedError, ResultObject

_SUCCESS = 0x0000
_WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_ADVICE = {
    0x0110: "it could not process it",
    0x0111: "it has another object of that UID",
    0x0122: "it does not take objects of that kind",
    0x0124: "it does not allow it",
}


class StoreSender(DimseArchive):
    """A connection to a DIMSE server that stores objects.

    Args:
        server: Where it is and how it knows us.
        kinds: SOP Class and transfer syntax of every object that will be sent.

    Raises:
        UsageError: A certificate cannot be read.
    """

    def __init__(self, server: DimseServer, kinds: Iterable[tuple[str, str]]) -> None:
        super().__init__(server)
        self._contexts = _contexts(kinds)
        self._open = ExitStack()
        self._association: Association | None = None

    def send(self, result: ResultObject, data: bytes) -> None:
        """Store one object; see `Sender`."""
        association = self._connected()
        if not any(context.abstract_syntax == result.sop_class_uid for context in association.accepted_contexts):
            raise ObjectRefusedError(f"{self._server.where} does not take objects of the kind {result.modality}")
        try:
            status = association.send_c_store(pydicom.dcmread(BytesIO(data)))
        except (RuntimeError, ValueError) as error:  # pynetdicom's words for: hung up, no such transfer syntax
            if association.is_established:
                detail = f"{self._server.where} does not take its transfer syntax ({type(error).__name__})"
                raise ObjectRefusedError(detail) from None
            self.close()
            raise ServerError(f"{self._server.where} hung up", passing=True) from None
        code = status.get("Status")
        if code is None:
            self.close()
            raise ServerError(f"{self._server.where} did not answer C-STORE in time, or hung up", passing=True)
        if code in _OUT_OF_RESOURCES:
            raise ServerError(f"{self._server.where} is out of resources (0x{code:04X})", passing=True)
        if code != _SUCCESS and code not in _WARNINGS:
            said = _ADVICE.get(code, "see the conformance statement of the archive")
            raise ObjectRefusedError(f"{self._server.where} refused it with status 0x{code:04X}: {said}")

    def close(self) -> None:
        """Release the association."""
        self._association = None
        self._open.close()

    def _connected(self) -> Association:
        if self._association is None or not self._association.is_established:
            self.close()
            self._association = self._open.enter_context(self._associated(self._contexts))
        return self._association


def _contexts(kinds: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """A presentation context each kind; what is not compressed may be sent in implicit VR, which all have to take."""
    contexts = []
    for sop_class, syntax in sorted(kinds):
        is_plain = not pydicom.uid.UID(syntax).is_compressed
        syntaxes = [syntax, str(ImplicitVRLittleEndian)] if is_plain and syntax != ImplicitVRLittleEndian else [syntax]
        contexts.append(build_context(sop_class, syntaxes))
    return contexts
