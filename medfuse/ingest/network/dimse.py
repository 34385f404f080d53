"""An archive that speaks DIMSE (PS3.7): C-FIND to search, C-GET or C-MOVE to retrieve (PS3.4 annex C).

pynetdicom does the talking. With C-GET the instances come back over our own connection: one presentation context for
each pair of SOP class and transfer syntax is proposed, so that the archive can send every instance as it is stored.
An association holds 128 contexts, which is why the SOP classes of the wanted instances are learnt by C-FIND first.
With C-MOVE the archive connects to us, and has to know our title, host and port.

Study Root is the information model: every archive has to support it for studies, series and instances alike.
"""

import contextlib
import logging
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from pydicom import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
)
from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    _config,
    build_context,
    build_role,
    evt,
)
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from medfuse.errors import ServerError, StorageError, StudyError
from medfuse.ingest.dicom.files import READ_ERRORS, quiet
from medfuse.ingest.network.archive import (
    MOST_ANSWERS,
    STUDY_KEYS,
    Deliver,
    InstanceRecord,
    Query,
    SeriesRequest,
    StudyRecord,
    instance_record,
    matches,
    series_of,
    study_record,
)
from medfuse.ingest.network.servers import DimseServer

_LOG = logging.getLogger(__name__)

MAXIMUM_PDU = 131_072
"""Bytes of a protocol data unit that we take at once; 16 KiB, the usual size, halves the speed on a fast network."""

_BY_REFERENCE = (
    "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.204",
    "1.2.840.10008.1.2.4.205",
)
TRANSFER_SYNTAXES = [
    syntax for syntax in ALL_TRANSFER_SYNTAXES if syntax not in _BY_REFERENCE and ".1.2.7." not in syntax
]
"""How an instance may be stored: all but pixels that stay with the archive (JPIP) and streams in real time (SMPTE)."""

FIND_MODEL = UID("1.2.840.10008.5.1.4.1.2.2.1")
GET_MODEL = UID("1.2.840.10008.5.1.4.1.2.2.3")
MOVE_MODEL = UID("1.2.840.10008.5.1.4.1.2.2.2")
"""The Study Root information model, for C-FIND, C-GET and C-MOVE (PS3.4 section C.6.2.1)."""

_PREFERRED = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
]

_LIKELY_CLASSES = [CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage]
"""What is proposed for an archive that does not say what its instances are."""

_PENDING = (0xFF00, 0xFF01)
_SUCCESS, _SOME_FAILED = 0x0000, 0xB000
_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0xA700, 0xC000
_MOST_CONTEXTS = 127
_MOST_UIDS = 100
"""UIDs in one request for instances: 100 of 64 characters stay far below what any archive takes in one message."""


def keep_silent() -> None:
    """Keep pynetdicom from logging what is asked and answered, which names patients."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def storage_contexts() -> list[PresentationContext]:
    """Every storage SOP class in every transfer syntax, for one who receives.

    Of the syntaxes that a sender offers together, the first of these is taken: explicit VR before implicit, which
    loses the types of private elements, and what loses nothing before what does.
    """
    syntaxes = [*_PREFERRED, *(syntax for syntax in TRANSFER_SYNTAXES if syntax not in _PREFERRED)]
    return [build_context(str(context.abstract_syntax), syntaxes) for context in AllStoragePresentationContexts]


def send_at_once(event: evt.Event) -> None:
    """Let the system send small messages without waiting for more (TCP_NODELAY): an answer waits 40 ms otherwise."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        with contextlib.suppress(OSError):
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class DimseArchive:
    """A connection to a DIMSE server: one association a call.

    Args:
        server: Where it is and how it knows us.

    Raises:
        UsageError: A certificate cannot be read.
    """

    def __init__(self, server: DimseServer) -> None:
        keep_silent()
        self._server = server
        self._tls = None if server.tls is None else (server.tls.client_context(), server.host)

    def find_studies(self, query: Query, limit: int | None = None) -> list[StudyRecord]:
        """The studies that fit, each once; see `Archive`."""
        found: dict[str, StudyRecord] = {}
        unfit = 0
        with self._finding() as association:
            for answer in self._find(association, "STUDY", dict.fromkeys(STUDY_KEYS, "") | query.filters()):
                record = study_record(answer)
                if record is None or not matches(answer, query):
                    unfit += 1
                    continue
                found.setdefault(record.study_instance_uid, record)
                if limit is not None and len(found) >= limit:
                    association.abort()  # the archive may have many more answers to give
                    break
        if unfit:
            _LOG.warning("%s answered with %d studies that were not asked for; left out", self._server.where, unfit)
        return list(found.values())

    def list_instances(self, study_instance_uid: str, series_modality: str = "") -> list[InstanceRecord]:
        """What the server has of a study; see `Archive`."""
        records: set[InstanceRecord] = set()
        keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": "", "Modality": series_modality}
        with self._finding() as association:
            series = dict(series_of(answer) for answer in self._find(association, "SERIES", keys))
            for uid, modality in series.items():
                if not uid or (series_modality and modality not in {series_modality, ""}):
                    continue
                wanted = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": uid}
                wanted |= {"SOPInstanceUID": "", "SOPClassUID": ""}
                answers = self._find(association, "IMAGE", wanted)
                records.update(one for answer in answers if (one := instance_record(answer, uid)) is not None)
        return sorted(records)

    def retrieve(self, study_instance_uid: str, wanted: Sequence[SeriesRequest], deliver: Deliver) -> None:
        """Hand the wanted instances to `deliver`; see `Archive`."""
        if self._server.retrieve == "move":
            self._move(study_instance_uid, wanted, deliver)
            return
        for group in _fitting_groups(wanted):
            classes = _classes(group)
            contexts = [build_context(sop_class, syntax) for sop_class in classes for syntax in TRANSFER_SYNTAXES]
            contexts = [build_context(GET_MODEL), *contexts[:_MOST_CONTEXTS]]
            roles = [build_role(sop_class, scp_role=True) for sop_class in classes]
            receiver = _Receiver(deliver)
            with self._associated(contexts, roles, receiver.handlers) as association:
                for request in group:
                    for identifier in _identifiers(study_instance_uid, request):
                        answers = association.send_c_get(identifier, GET_MODEL)
                        self._follow(answers, receiver)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _move(self, study_instance_uid: str, wanted: Sequence[SeriesRequest], deliver: Deliver) -> None:
        receiver = _Receiver(deliver)
        listener = _entity(self._server)
        listener.supported_contexts = storage_contexts()
        listener.require_called_aet = True
        listener.require_calling_aet = [self._server.ae_title]
        address = (self._server.receive_host, self._server.receive_port)
        context = None if self._server.tls is None else self._server.tls.server_context()
        try:
            listener.start_server(address, block=False, ssl_context=context, evt_handlers=receiver.handlers)
        except OSError as error:
            detail = f"cannot listen on port {address[1]} for C-MOVE: {error.strerror}; choose another receive_port"
            raise ServerError(detail) from None
        try:
            contexts = [build_context(MOVE_MODEL)]
            with self._associated(contexts) as association:
                for request in wanted:
                    for identifier in _identifiers(study_instance_uid, request):
                        model, to = MOVE_MODEL, self._server.calling_ae_title
                        self._follow(association.send_c_move(identifier, to, model), receiver)
        finally:
            listener.shutdown()

    def _finding(self) -> AbstractContextManager[Association]:
        return self._associated([build_context(FIND_MODEL)])

    @contextmanager
    def _associated(
        self,
        contexts: list[PresentationContext],
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        handlers: Sequence[evt.EventHandlerType] = (),
    ) -> Iterator[Association]:
        """An association: released when the block ends, aborted when it raises."""
        server = self._server
        try:
            association = _entity(server).associate(
                server.host,
                server.port,
                contexts,
                ae_title=server.ae_title,
                max_pdu=MAXIMUM_PDU,
                ext_neg=list(roles),
                tls_args=self._tls,
                evt_handlers=list(handlers) or [(evt.EVT_CONN_OPEN, send_at_once)],
            )
        except OSError:
            raise ServerError(f"{server.where} is not known by that name; check host", passing=True) from None
        if not association.is_established:
            raise self._unwilling(association)
        try:
            yield association
        except (RuntimeError, ValueError):  # pynetdicom's words for: hung up, no such service
            raise self._speechless(association) from None
        finally:
            if association.is_established and sys.exception() is None:
                association.release()
            else:
                association.abort()

    def _unwilling(self, association: Association) -> ServerError:
        where = self._server.where
        if association.is_rejected:
            why = association.acceptor.primitive
            said = why.reason_str if why is not None else "for no reason given"
            advice = f"check the titles: it has to know {self._server.calling_ae_title}"
            return ServerError(f"{where} refused the association ({said.lower()}); {advice}")
        if association.rejected_contexts:
            return self._without_service(association)
        tls = " or trusted; check the certificates" if self._tls else ""
        return ServerError(f"{where} cannot be reached{tls}, or did not answer in time", passing=True)

    def _speechless(self, association: Association) -> ServerError:
        if association.is_aborted or not association.is_established:
            return ServerError(f"{self._server.where} hung up", passing=True)
        return self._without_service(association)

    def _without_service(self, association: Association) -> ServerError:
        names = {FIND_MODEL: "C-FIND", GET_MODEL: "C-GET", MOVE_MODEL: "C-MOVE"}
        refused = (names.get(context.abstract_syntax or UID("")) for context in association.rejected_contexts)
        asked = next((name for name in refused if name), "this")
        advice = {"C-GET": "; try retrieve: move", "C-MOVE": "; try retrieve: get"}.get(asked, "")
        return ServerError(f"{self._server.where} does not offer {asked} by the Study Root model{advice}")

    def _find(self, association: Association, level: str, keys: dict[str, str]) -> Iterator[Dataset]:
        """The answers to one C-FIND; raises when it does not end well."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        if not all(value.isascii() for value in keys.values()):
            identifier.SpecificCharacterSet = "ISO_IR 192"
        with quiet():
            for keyword, value in keys.items():
                setattr(identifier, keyword, value)
        responses = association.send_c_find(identifier, FIND_MODEL)
        for number, (status, answer) in enumerate(responses):
            code = status.get("Status")
            if code in _PENDING and answer is not None and number < MOST_ANSWERS:
                yield answer
            elif code in _PENDING and number >= MOST_ANSWERS:
                raise ServerError(f"{self._server.where} answers without end; narrow the search")
            elif code not in (*_PENDING, _SUCCESS):
                raise self._failed("C-FIND", code)

    def _follow(self, responses: Iterable[tuple[Dataset, Dataset | None]], receiver: "_Receiver") -> None:
        """Wait for the end of a C-GET or C-MOVE; instances that failed are asked for anew, a full disk is an end."""
        for status, _ in responses:
            receiver.raise_failure()
            code = status.get("Status")
            if code not in (*_PENDING, _SUCCESS, _SOME_FAILED):
                raise self._failed("the retrieval", code)
        receiver.raise_failure()

    def _failed(self, what: str, code: int | None) -> ServerError:
        where = self._server.where
        if code is None:
            return ServerError(f"{where} did not answer {what} in time, or hung up", passing=True)
        if code == 0xA801:
            return ServerError(f"{where} does not know {self._server.calling_ae_title} as a destination (0xA801)")
        refused = code in (0x0122, 0x0124, 0xA900)
        return ServerError(f"{where} answered {what} with status 0x{code:04X}", passing=not refused)


class _Receiver:
    """Takes the instances that come in, in whichever thread, and keeps the failure that ends the retrieval."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._failure: StorageError | None = None
        self.handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, send_at_once),
            (evt.EVT_C_STORE, self._store),
        ]

    def raise_failure(self) -> None:
        """Raise in the caller's thread what went wrong while an instance was stored."""
        if self._failure is not None:
            raise self._failure

    def _store(self, event: evt.Event) -> int:
        try:
            self._deliver(event.encoded_dataset())
        except StorageError as error:
            self._failure = error
            return _OUT_OF_RESOURCES
        except (StudyError, *READ_ERRORS):
            return _CANNOT_UNDERSTAND
        return _SUCCESS


def _entity(server: DimseServer) -> AE:
    entity = AE(ae_title=server.calling_ae_title)
    entity.connection_timeout = server.connect_timeout_s
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = server.timeout_s
    entity.maximum_pdu_size = MAXIMUM_PDU
    return entity


def _classes(requests: Iterable[SeriesRequest]) -> list[str]:
    classes = {record.sop_class_uid for request in requests for record in request.instances}
    return sorted(classes - {""} | (set(map(str, _LIKELY_CLASSES)) if "" in classes else set()))


def _fitting_groups(requests: Sequence[SeriesRequest]) -> list[list[SeriesRequest]]:
    """Requests in groups whose SOP classes, in every transfer syntax, fit one association."""
    most = _MOST_CONTEXTS // len(TRANSFER_SYNTAXES)
    groups: list[list[SeriesRequest]] = []
    for request in requests:
        if groups and len(_classes([*groups[-1], request])) <= most:
            groups[-1].append(request)
        else:
            groups.append([request])
    return groups


def _identifiers(study_instance_uid: str, request: SeriesRequest) -> Iterator[Dataset]:
    """What to ask for: a series as one, or its instances by their UIDs."""
    uids = [record.sop_instance_uid for record in request.instances]
    for start in range(0, 1 if request.is_whole else len(uids), _MOST_UIDS):
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "SERIES" if request.is_whole else "IMAGE"
        identifier.StudyInstanceUID = study_instance_uid
        identifier.SeriesInstanceUID = request.series_instance_uid
        if not request.is_whole:
            identifier.SOPInstanceUID = uids[start : start + _MOST_UIDS]
        yield identifier
