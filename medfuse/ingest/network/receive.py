"""A listener for C-STORE and C-ECHO (PS3.4 annex B, annex A): scanners and archives send studies to it.

pynetdicom does the talking, one thread a sender. The listener takes every storage SOP class in every transfer syntax
and stores the bytes as they come. What it answers:

| status | meaning (PS3.4 table B.2-1) |
|---|---|
| 0x0000 | stored, and on the disk |
| 0xA700 | out of resources: the disk is full, or the service is stopping; the sender may try later |
| 0xA900 | the dataset is of another instance than the sender says |
| 0xC000 | the dataset cannot be understood |

An application entity title proves nothing, since anyone may claim it. It keeps a misconfigured neighbour out; only
TLS with certificates for callers keeps a stranger out.
"""

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from medfuse.errors import StorageError, StudyError, UsageError
from medfuse.ingest.network.dimse import MAXIMUM_PDU, keep_silent, send_at_once, storage_contexts
from medfuse.ingest.network.inbox import Inbox
from medfuse.ingest.network.servers import Tls

_LOG = logging.getLogger(__name__)
_STORED, _OUT_OF_RESOURCES, _MISMATCH, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
_VERIFICATION = "1.2.840.10008.1.1"
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """Where and to whom a listener listens.

    Args:
        host: Address to listen on; that of this machine alone unless told otherwise.
        port: Port; 0 takes a free one.
        ae_title: Our title; a sender has to call us by it.
        allowed: Titles of the senders that may store; None for anyone.
        tls: Our certificate and key; with a `ca_file`, senders have to show a certificate that it vouches for.
        most_bytes: Largest instance that is taken.
        most_associations: Senders at the same time.
        timeout_s: Seconds that a sender may be silent in an association.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "MEDFUSE"
    allowed: tuple[str, ...] | None = None
    tls: Tls | None = None
    most_bytes: int = 2 << 30
    most_associations: int = 20
    timeout_s: float = 60.0


class Listener:
    """Stores what senders send into an inbox; a context manager that listens while it is open.

    Args:
        inbox: Where instances go.
        options: Where and to whom it listens.

    Raises:
        UsageError: The port is taken, or a certificate cannot be used.
    """

    def __init__(self, inbox: Inbox, options: ListenOptions) -> None:
        keep_silent()
        self._inbox = inbox
        self._options = options
        self._is_stopping = threading.Event()
        self._brought: dict[Association, set[str]] = defaultdict(set)
        self._received: dict[Association, int] = defaultdict(int)
        self._entity = _entity(options)
        self.port = options.port

    def __enter__(self) -> "Listener":
        options = self._options
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, send_at_once),
            (evt.EVT_CONN_CLOSE, self._on_close),
            (evt.EVT_REJECTED, self._on_refused),
            (evt.EVT_PDU_RECV, self._on_data),
            (evt.EVT_C_STORE, self._on_store),
        ]
        context = None if options.tls is None else options.tls.server_context()
        try:
            server = self._entity.start_server(
                (options.host, options.port), block=False, ssl_context=context, evt_handlers=handlers
            )
        except OSError as error:
            detail = (
                f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another --port or --host"
            )
            raise UsageError(detail) from None
        if server is not None:
            self.port = server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        """Take nothing more, let what is being written be written, and hang up."""
        self._is_stopping.set()
        deadline = time.monotonic() + _GRACE_S
        while self._inbox.is_writing and time.monotonic() < deadline:
            time.sleep(0.01)
        self._entity.shutdown()

    @property
    def is_busy(self) -> bool:
        """Whether a sender that brought something is still connected."""
        return bool(self._brought)

    def _on_store(self, event: evt.Event) -> int:
        if self._is_stopping.is_set():
            return _OUT_OF_RESOURCES
        self._received.pop(event.assoc, None)
        try:
            uid = self._inbox.add(event.encoded_dataset(), str(getattr(event.request, "AffectedSOPInstanceUID", "")))
        except StorageError as error:
            _LOG.error("an instance was not taken: %s", error)
            return _OUT_OF_RESOURCES
        except StudyError as error:
            _LOG.warning("an instance was not taken: %s: %s", error.reason, error.detail)
            return _MISMATCH if error.reason == "WRONG_INSTANCE" else _CANNOT_UNDERSTAND
        self._brought[event.assoc].add(uid)
        return _STORED

    def _on_data(self, event: evt.Event) -> None:
        """Hang up on a sender whose instance grows beyond what is allowed, before it fills the memory."""
        if not isinstance(event.pdu, P_DATA_TF):
            return
        self._received[event.assoc] += event.pdu.pdu_length
        if self._received[event.assoc] > self._options.most_bytes:
            _LOG.warning("a sender was hung up on: an instance has more than %d bytes", self._options.most_bytes)
            event.assoc.abort(block=False)

    def _on_close(self, event: evt.Event) -> None:
        self._received.pop(event.assoc, None)
        self._inbox.touch(self._brought.get(event.assoc, ()))
        self._brought.pop(event.assoc, None)

    def _on_refused(self, event: evt.Event) -> None:
        asked = event.assoc.requestor.primitive
        titles = ("", "") if asked is None else (asked.calling_ae_title, asked.called_ae_title)
        advice = "allow the one with --allow-ae, or listen as the other with --ae-title"
        _LOG.warning("an association was refused: %r called %r; %s", *titles, advice)


def _entity(options: ListenOptions) -> AE:
    entity = AE(ae_title=options.ae_title)
    entity.supported_contexts = storage_contexts()
    entity.add_supported_context(_VERIFICATION)
    entity.require_called_aet = True
    entity.require_calling_aet = list(options.allowed or ())
    entity.maximum_associations = options.most_associations
    entity.maximum_pdu_size = MAXIMUM_PDU
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = options.timeout_s
    return entity
