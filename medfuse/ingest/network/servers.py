"""Image servers that studies are fetched from, described in YAML or by an address on the command line.

A file (`pacs.yaml`) names each server:

    hospital:
      kind: dimse                # C-FIND, and C-GET or C-MOVE
      host: pacs.example.org
      port: 11112
      ae_title: PACS             # the server's
      calling_ae_title: MEDFUSE  # ours, as the server knows it
    research:
      kind: dicomweb             # QIDO-RS and WADO-RS
      url: https://pacs.example.org/dicom-web
      token_env: PACS_TOKEN      # the variable that holds the token, never the token
      tls: {ca_file: ca.pem}

Secrets stand in environment variables or in files of their own; a description holds where they are.
"""

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from medfuse.errors import ConfigError, UsageError

AeTitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]{1,16}$")]
"""An application entity title: 1 to 16 printable ASCII characters, no backslash (PS3.5 section 6.2, VR AE)."""

_ADDRESS = re.compile(r"(?:dimse://)?(?P<title>[ -\[\]-~]{1,16})@(?P<host>[^@/\s]+):(?P<port>[0-9]{1,5})/?")


class Tls(BaseModel):
    """How a connection is encrypted, and who proves what.

    Args:
        verify: Whether the server has to prove who it is.
        ca_file: Certificates (PEM) that may vouch for the server; the system's when left out.
        cert_file: Our certificate (PEM), for servers that ask for one.
        key_file: Its key (PEM); left out when it is in `cert_file`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verify: bool = True
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def client_context(self) -> ssl.SSLContext:
        """The TLS side of one who connects.

        Raises:
            UsageError: A file is missing or holds no certificate or key.
        """
        context = _loaded(ssl.create_default_context, self, cafile=self.ca_file)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def server_context(self) -> ssl.SSLContext:
        """The TLS side of one who listens; with `ca_file`, callers have to show a certificate.

        Raises:
            UsageError: A file is missing or holds no certificate or key.
        """
        context = _loaded(ssl.create_default_context, self, purpose=ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
        if self.ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class _Server(BaseModel):
    """What both kinds of servers share."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    connect_timeout_s: float = Field(default=10.0, gt=0)
    timeout_s: float = Field(default=60.0, gt=0)
    retries: int = Field(default=3, ge=0, le=20)
    backoff_s: float = Field(default=1.0, ge=0)
    tls: Tls | None = None


class DicomwebServer(_Server):
    """A server that speaks DICOMweb (PS3.18).

    Args:
        url: Root of its services, without user or password.
        user: Name for HTTP basic authentication; takes `password_env` or `password_file`.
        password_env: Environment variable that holds the password.
        password_file: File that holds the password.
        token_env: Environment variable that holds a bearer token.
        token_file: File that holds a bearer token.
        connect_timeout_s: Seconds to wait for a connection.
        timeout_s: Seconds to wait for the next bytes of an answer.
        retries: How often a failed call is tried again.
        backoff_s: Seconds before the first new try; doubled each time.
        tls: Certificates, for `https`.
    """

    kind: Literal["dicomweb"] = "dicomweb"
    url: str
    user: str = ""
    password_env: str = ""
    password_file: Path | None = None
    token_env: str = ""
    token_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected http://HOST/PATH or https://HOST/PATH")
        if "@" in parts.netloc:
            raise ValueError("a user or password has no place in a URL; use user with password_env or password_file")
        if parts.query or parts.fragment:
            raise ValueError("expected the root of the services, without ? and #")
        return url.rstrip("/")

    @property
    def where(self) -> str:
        """The server in messages."""
        return self.url

    def token(self) -> str:
        """The bearer token, or nothing."""
        return _secret("token", self.token_env, self.token_file)

    def password(self) -> str:
        """The password, or nothing."""
        return _secret("password", self.password_env, self.password_file)


class DimseServer(_Server):
    """A server that speaks DIMSE (PS3.7) over TCP.

    Args:
        host: Its name or address.
        port: Its port.
        ae_title: Its application entity title.
        calling_ae_title: Ours, as the server knows it.
        retrieve: `get` (C-GET, over our own connection) or `move` (C-MOVE: the server connects to us).
        receive_port: For `move`: the port that the server connects to; it has to know us by it.
        receive_host: For `move`: the address to listen on.
        connect_timeout_s: Seconds to wait for a connection.
        timeout_s: Seconds to wait for the next message.
        retries: How often a failed call is tried again.
        backoff_s: Seconds before the first new try; doubled each time.
        tls: Certificates; without it the connection is not encrypted.
    """

    kind: Literal["dimse"] = "dimse"
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    ae_title: AeTitle
    calling_ae_title: AeTitle = "MEDFUSE"
    retrieve: Literal["get", "move"] = "get"
    receive_port: int = Field(default=11112, ge=1, le=65535)
    receive_host: str = "0.0.0.0"  # noqa: S104 (the server has to reach us)

    @property
    def where(self) -> str:
        """The server in messages."""
        return f"{self.ae_title}@{self.host}:{self.port}"


Server = DicomwebServer | DimseServer
_SERVERS: TypeAdapter[dict[str, Server]] = TypeAdapter(
    dict[str, Annotated[DicomwebServer | DimseServer, Field(discriminator="kind")]]
)


def servers_of(content: Any, where: str, folder: Path) -> dict[str, Server]:
    """The servers that a description names.

    Args:
        content: Plain data: name -> description.
        where: The file, for messages.
        folder: What relative paths in it are relative to.

    Raises:
        ConfigError: A key is unknown, missing or of the wrong kind; the message holds no value.
    """
    try:
        named = _SERVERS.validate_python(content)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_problem(error)}") from None
    return {name: _at_home(server, folder) for name, server in named.items()}


def server_at(address: str, options: Mapping[str, Any]) -> Server | None:
    """The server that an address names: `http(s)://HOST/PATH`, or `AE_TITLE@HOST:PORT`; None for anything else.

    Args:
        address: What the operator wrote.
        options: Keys of the description beside the address, e.g. `timeout_s`.

    Raises:
        ConfigError: The address or an option cannot be used.
    """
    if re.match(r"https?://", address, re.IGNORECASE):
        known = DicomwebServer.model_fields
        content = {"kind": "dicomweb", "url": address}
    elif match := _ADDRESS.fullmatch(address):
        known = DimseServer.model_fields
        content = {"kind": "dimse", "host": match["host"], "port": match["port"], "ae_title": match["title"]}
    else:
        return None
    if unfit := [key for key in options if key not in known]:
        raise ConfigError(f"{unfit[0]} does not fit a server of kind {content['kind']}; leave it out")
    (server,) = servers_of({"server": content | dict(options)}, "the command line", Path()).values()
    return server


def _loaded(make: Any, tls: Tls, **options: Any) -> ssl.SSLContext:
    try:
        context: ssl.SSLContext = make(**options)
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:
        named = ", ".join(str(path) for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)
        raise UsageError(f"cannot use the certificates {named}: {_kind_of(error)}; expected PEM files") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_passphrase() -> str:
    raise ValueError("the key is locked by a passphrase; store it without one, readable by you alone")


def _kind_of(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "they are no certificate and key that belong together"
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__


def _secret(what: str, variable: str, file: Path | None) -> str:
    if variable:
        value = os.environ.get(variable, "").strip()
        if not value:
            raise UsageError(f"the environment variable {variable} holds no {what}; set it")
    elif file is not None:
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the {what} file {file}: {_kind_of(error)}") from None
    else:
        return ""
    if not value.isprintable() or not value.isascii():
        raise UsageError(f"the {what} of the server holds characters that HTTP does not carry; check where it stands")
    return value


def _at_home(server: Server, folder: Path) -> Server:
    """The same server with paths that hold from anywhere."""
    changes: dict[str, Any] = {}
    if server.tls is not None:
        paths = {name: value for name, value in server.tls if isinstance(value, Path)}
        changes["tls"] = server.tls.model_copy(update={name: folder / path for name, path in paths.items()})
    changes |= {name: folder / value for name, value in server if isinstance(value, Path)}
    return server.model_copy(update=changes)


def _problem(error: ValidationError) -> str:
    """The first problem as a sentence without the value, which may be a secret in the wrong place."""
    detail = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(step) for step in detail["loc"] if step not in {"dicomweb", "dimse"})
    if detail["type"] == "extra_forbidden":
        return f"{key} is unknown; see the example in medfuse/ingest/servers.py"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key or 'the file'}: {message[:1].lower()}{message[1:]}"
