"""A real Orthanc, started for the tests on free ports, with its storage in a temporary folder."""

import gc
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.network.certificates import make_certificates
from tests.network.doors import tls_door
from tests.network.studies import Made, make_studies

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Orthanc:
    """A running server: its ports, and the port at which it knows MEDFUSE."""

    folder: Path
    tls: dict[str, object] = field(default_factory=dict)
    http: int = field(default_factory=free_port)
    dicom: int = field(default_factory=free_port)
    medfuse: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def root(self) -> str:
        return f"http://localhost:{self.http}"

    @property
    def url(self) -> str:
        return f"{self.root}/dicom-web"

    @property
    def address(self) -> str:
        return f"ORTHANC@localhost:{self.dicom}"

    def start(self) -> None:
        storage = self.folder / "storage"
        storage.mkdir(exist_ok=True)
        known = {"AET": "MEDFUSE", "Host": "127.0.0.1", "Port": self.medfuse, "UseDicomTls": bool(self.tls)}
        config = {
            "Name": "medfuse tests",
            "StorageDirectory": str(storage),
            "IndexDirectory": str(storage),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": {"medfuse": known},
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "JobsHistorySize": 1,
            **self.tls,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(config))
        log = (self.folder / "log").open("ab")
        at_once = {**os.environ, "TCP_NODELAY": "1"}  # dcmtk waits for acknowledgements otherwise, 40 ms an instance
        self.process = subprocess.Popen([str(PROGRAM), str(path)], stdout=log, stderr=log, env=at_once)
        log.close()
        for _ in range(200):
            try:
                requests.get(f"{self.root}/system", timeout=2).raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.05)
                if self.process.poll() is not None:
                    break
        pytest.fail(f"Orthanc did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()  # its storage is thrown away; a tidy end takes seconds
            self.process.wait(30)

    def send(self, study: str) -> None:
        """Let Orthanc send a study to the listener that it knows as medfuse."""
        found = requests.post(f"{self.root}/tools/lookup", data=study, timeout=20).json()
        url = f"{self.root}/modalities/medfuse/store"
        answer = requests.post(url, json={"Resources": [found[0]["ID"]]}, timeout=60)
        answer.raise_for_status()
        assert answer.json()["FailedInstancesCount"] == 0

    def upload(self, data: bytes) -> None:
        answer = requests.post(f"{self.root}/instances", data=data, timeout=20)
        answer.raise_for_status()


@pytest.fixture(scope="module", autouse=True)
def tidy_sockets() -> Iterator[None]:
    """pynetdicom leaves the sockets of refused connections to the garbage collector: let it come here, not later."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def made_studies() -> Made:
    return make_studies()


@pytest.fixture(scope="session")
def needs_orthanc() -> None:
    if not (PROGRAM.is_file() and PLUGIN.is_file()):
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")


@pytest.fixture(scope="session")
def orthanc(needs_orthanc: None, tmp_path_factory: pytest.TempPathFactory, made_studies: Made) -> Iterator[Orthanc]:
    """Holds the made studies; tests leave it as it is."""
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    server.start()
    try:
        for data in made_studies.files:
            server.upload(data)
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_orthanc(needs_orthanc: None, tmp_path: Path) -> Iterator[Orthanc]:
    """An empty one that a test may change and kill."""
    folder = tmp_path / "orthanc"
    folder.mkdir()
    server = Orthanc(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and localhost and client each as .pem and .key, of which ca.pem vouches for both."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def safe_orthanc(
    needs_orthanc: None, certificates: Path, tmp_path_factory: pytest.TempPathFactory, made_studies: Made
) -> Iterator[Orthanc]:
    """Speaks DIMSE over TLS, to callers with a certificate; holds the made studies."""
    folder = tmp_path_factory.mktemp("safe-orthanc")
    shutil.copytree(certificates, folder, dirs_exist_ok=True)
    tls: dict[str, object] = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(folder / "localhost.pem"),
        "DicomTlsPrivateKey": str(folder / "localhost.key"),
        "DicomTlsTrustedCertificates": str(folder / "ca.pem"),
        "DicomTlsRemoteCertificateRequired": True,
    }
    server = Orthanc(folder, tls)
    server.start()
    try:
        for data in made_studies.files:
            server.upload(data)
        yield server
    finally:
        server.stop()


@pytest.fixture
def https_url(orthanc: Orthanc, certificates: Path) -> Iterator[str]:
    """Orthanc's DICOMweb behind a door that speaks TLS: Debian's Orthanc 1.10.1 crashes when it speaks it itself."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
    context.verify_mode = ssl.CERT_REQUIRED
    with tls_door(orthanc.http, context) as port:
        yield f"https://localhost:{port}/dicom-web"
