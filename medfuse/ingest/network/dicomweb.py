"""An archive that speaks DICOMweb: QIDO-RS to search, WADO-RS to retrieve (PS3.18 sections 10.6 and 10.4).

dicomweb-client builds the requests, and takes answers of several parts apart as they come in. Retries are left to
`archive.retrying`, since the client's own repeat every exception and know nothing of an answer that breaks off.
Messages name the server and what it did, never the URL, which holds what was searched for.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset

from medfuse.errors import ServerError
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
    study_record,
)
from medfuse.ingest.network.arrivals import original_bytes
from medfuse.ingest.network.servers import DicomwebServer, Tls

_LOG = logging.getLogger(__name__)
_AS_STORED = (("application/dicom", "*"),)
_PAGE = 500
_CHUNK = 1 << 18
"""Bytes that are read at once; of an answer that breaks off, what came before the last chunk is kept."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_ADVICE = {
    401: "it wants to know who asks; give a token or a user",
    403: "it does not allow this; ask who runs it",
    404: "there is no such service or study; check the URL",
}


class _Bearer(requests.auth.AuthBase):
    """Sends a token, and only to the host that it is for: requests drops it on a redirect to another one."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _PlainWildcards(requests.adapters.HTTPAdapter):
    """Sends `*` and `?` as they are, which a query may hold (RFC 3986 section 3.4); requests would escape them."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send a request."""
        request.url = (request.url or "").replace("%2A", "*").replace("%3F", "?")
        return super().send(request, *args, **options)


class DicomwebArchive:
    """A connection to a DICOMweb server.

    Args:
        server: Where it is and how to log in.

    Raises:
        UsageError: A token, a password or a certificate cannot be read.
    """

    def __init__(self, server: DicomwebServer) -> None:
        self._server = server
        self._session = _session(server)
        self._client = DICOMwebClient(
            server.url,
            session=self._session,
            chunk_size=_CHUNK,
            timeout=(server.connect_timeout_s, server.timeout_s),
        )
        self._client.set_http_retry_params(retry=False)

    def find_studies(self, query: Query, limit: int | None = None) -> list[StudyRecord]:
        """The studies that fit, each once; see `Archive`."""
        for filters in _spellings(query.filters()):
            found: dict[str, StudyRecord] = {}
            unfit = 0
            for answer in self._pages(self._client.search_for_studies, fields=STUDY_KEYS, search_filters=filters):
                record = study_record(answer)
                if record is None or not matches(answer, query):
                    unfit += 1
                    continue
                found.setdefault(record.study_instance_uid, record)
                if limit is not None and len(found) >= limit:
                    break
            if found or unfit:
                break
        if unfit:
            _LOG.warning("%s answered with %d studies that were not asked for; left out", self._server.where, unfit)
        return list(found.values())

    def list_instances(self, study_instance_uid: str, series_modality: str = "") -> list[InstanceRecord]:
        """What the server has of a study; see `Archive`."""
        filters = {"Modality": series_modality} if series_modality else {}
        answers = self._pages(
            self._client.search_for_instances,
            study_instance_uid=study_instance_uid,
            fields=("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality"),
            search_filters=filters,
        )
        fitting = (one for one in answers if str(one.get("Modality", "") or series_modality) in {series_modality, ""})
        records = map(instance_record, answers if not series_modality else fitting)
        return sorted({record for record in records if record is not None})

    def retrieve(self, study_instance_uid: str, wanted: Sequence[SeriesRequest], deliver: Deliver) -> None:
        """Hand the wanted instances to `deliver`; see `Archive`."""
        for request in wanted:
            if request.is_whole:
                series = (study_instance_uid, request.series_instance_uid)
                with self._understood():
                    self._hand_on(self._client.iter_series(*series, media_types=_AS_STORED), deliver)
                continue
            for record in request.instances:
                names = (study_instance_uid, record.series_instance_uid, record.sop_instance_uid)
                with self._understood():
                    instance = self._client.retrieve_instance(*names, media_types=_AS_STORED)
                deliver(original_bytes(instance))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _hand_on(self, instances: Iterable[Dataset], deliver: Deliver) -> None:
        """Deliver what comes in; a part that is no DICOM ends the answer, and what is missing is asked for anew."""
        for instance in instances:
            deliver(original_bytes(instance))

    def _pages(self, search: Callable[..., list[dict[str, Any]]], **options: Any) -> Iterator[Dataset]:
        """Each answer of a search once, page by page; a server that ignores the page is asked only once more."""
        seen: set[str] = set()
        while len(seen) < MOST_ANSWERS:
            with self._understood():
                page = search(limit=_PAGE, offset=len(seen), **options)
                answers = [(repr(item), _dataset(item)) for item in page]
            fresh = [(text, answer) for text, answer in answers if text not in seen]
            seen.update(text for text, _ in fresh)
            yield from (answer for _, answer in fresh)
            if not fresh:
                return
        raise ServerError(f"{self._server.where} answers without end; narrow the search")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Turn what a request or an answer can go wrong with into a `ServerError` that quotes nothing of it."""
        where = self._server.where
        try:
            with quiet():
                yield
        except requests.HTTPError as error:
            raise _refusal(where, error.response) from None
        except requests.exceptions.SSLError:
            raise ServerError(f"{where} could not be trusted: TLS failed; check tls.ca_file and the name") from None
        except requests.Timeout:
            raise ServerError(f"{where} did not answer in time", passing=True) from None
        except requests.ConnectionError:
            raise ServerError(f"{where} cannot be reached, or hung up", passing=True) from None
        except requests.exceptions.ChunkedEncodingError:
            raise ServerError(f"{where} broke off in the middle of an answer", passing=True) from None
        except (requests.RequestException, *READ_ERRORS) as error:
            detail = f"{where} sent what is no DICOMweb answer ({type(error).__name__})"
            raise ServerError(detail, passing=True) from None


def _refusal(where: str, response: requests.Response | None) -> ServerError:
    if response is None:
        return ServerError(f"{where} did not answer as a web server does", passing=True)
    code = response.status_code
    after = response.headers.get("Retry-After", "")
    wait_s = float(after) if after.isascii() and after.isdigit() else 0.0
    advice = _ADVICE.get(code, "try again later" if code in _PASSING else "check the URL")
    return ServerError(f"{where} answered with HTTP {code}: {advice}", passing=code in _PASSING, wait_s=wait_s)


def _spellings(filters: dict[str, str]) -> list[dict[str, str]]:
    """A search as it is, and as it is for Orthanc 1.10, which takes `%20` and `%C3%9C` for what they look like.

    Every character that has to be escaped in a query may be any character; `matches` then finds what fits.
    """
    lenient = {keyword: re.sub(r"[^A-Za-z0-9.*?~_-]", "?", value) for keyword, value in filters.items()}
    return [filters] if lenient == filters else [filters, lenient]


def _dataset(item: Any) -> Dataset:
    return Dataset.from_json(item) if isinstance(item, dict) else Dataset()


def _session(server: DicomwebServer) -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _PlainWildcards())
    if token := server.token():
        session.auth = _Bearer(token)
    elif server.user:
        session.auth = (server.user, server.password())
    tls = server.tls or Tls()
    if tls.ca_file is not None or not tls.verify:
        session.trust_env = False  # else a bundle that the environment names would come before the one asked for
    if not tls.verify:
        _LOG.warning("%s is not asked to prove who it is (tls.verify is false)", server.where)
        session.verify = False
    elif tls.ca_file is not None:
        session.verify = str(tls.ca_file)
    if tls.cert_file is not None:
        session.cert = (str(tls.cert_file), str(tls.key_file or tls.cert_file))
    if tls != Tls():
        tls.client_context()  # says now, in one line, what requests would say as a failed connection
    return session
