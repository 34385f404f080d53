"""Descriptions of image servers: every key checked, secrets kept out of files, commands and messages."""

from pathlib import Path

import pytest

from medfuse.config.yaml_text import parse_yaml
from medfuse.errors import ConfigError, UsageError
from medfuse.ingest.network import servers as described
from medfuse.ingest.network.servers import DicomwebServer, DimseServer, server_at, servers_of

SECRET = "s3cr3t-t0k3n"  # noqa: S105


def parsed(text: str, folder: Path = Path("/etc/medfuse")) -> dict[str, described.Server]:
    return servers_of(parse_yaml(text, "pacs.yaml"), "pacs.yaml", folder)


def test_the_example_of_the_docstring_is_one() -> None:
    example = (described.__doc__ or "").split("\n\n")[2]
    found = parsed("\n".join(line[4:] for line in example.splitlines()))
    hospital, research = found["hospital"], found["research"]
    assert isinstance(hospital, DimseServer)
    assert isinstance(research, DicomwebServer)
    assert (hospital.where, hospital.tls) == ("PACS@pacs.example.org:11112", None)
    assert research.tls is not None
    assert research.tls.ca_file == Path("/etc/medfuse/ca.pem")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {kind: dicomweb, url: 'https://h/x', token: s3cr3t-t0k3n}", "a.token is unknown"),
        ("a: {kind: dicomweb, url: 'https://me:s3cr3t-t0k3n@h/x'}", "no place in a URL"),
        ("a: {kind: dicomweb, url: 'ftp://h/x'}", "a.url: expected http"),
        ("a: {kind: dicomweb, url: 'https://h/x?token=s3cr3t-t0k3n'}", "without ? and #"),
        ("a: {kind: dimse, host: h, ae_title: PACS}", "a.port: field required"),
        ("a: {kind: dimse, host: h, port: 70000, ae_title: PACS}", "a.port"),
        ("a: {kind: dimse, host: h, port: 104, ae_title: 'A TITLE OF MORE THAN SIXTEEN'}", "a.ae_title"),
        ("a: {kind: dimse, host: h, port: 104, ae_title: 'A\\B'}", "a.ae_title"),
        ("a: {kind: ftp}", "a"),
        ("a: {kind: dimse, host: h, port: 104, ae_title: P, timeout_s: 0}", "a.timeout_s"),
        ("a: {kind: dimse, host: h, port: 104, ae_title: P, password: s3cr3t-t0k3n}", "a.password is unknown"),
        ("- a", "the file"),
    ],
)
def test_what_is_wrong_is_named_by_its_key_and_never_by_its_value(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parsed(text)
    assert str(refusal.value).startswith("pacs.yaml: ")
    assert words in str(refusal.value)
    assert SECRET not in repr(refusal.value)
    assert refusal.value.__cause__ is None


def test_secrets_come_from_where_the_description_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN_HERE", SECRET)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    text = "{kind: dicomweb, url: 'https://h/x', token_env: TOKEN_HERE, user: me, password_file: password}"
    server = parsed(f"a: {text}", tmp_path)["a"]
    assert isinstance(server, DicomwebServer)
    assert (server.token(), server.password()) == (SECRET, SECRET)
    assert SECRET not in repr(server)
    monkeypatch.delenv("TOKEN_HERE")
    with pytest.raises(UsageError, match="TOKEN_HERE holds no token"):
        server.token()
    (tmp_path / "password").write_bytes(b"two\nlines")
    with pytest.raises(UsageError, match="characters") as refusal:
        server.password()
    assert "two" not in str(refusal.value)


def test_an_address_is_a_server() -> None:
    web, dimse = server_at("https://h/x/", {"timeout_s": 3}), server_at("dimse://PACS ONE@h.example:104", {})
    assert isinstance(web, DicomwebServer)
    assert (web.url, web.timeout_s) == ("https://h/x", 3)
    assert isinstance(dimse, DimseServer)
    assert (dimse.ae_title, dimse.host, dimse.port) == ("PACS ONE", "h.example", 104)
    assert server_at("hospital", {}) is None


@pytest.mark.parametrize(
    ("address", "options"), [("PACS@h:104", {"token_env": "T"}), ("https://h/x", {"calling_ae_title": "ME"})]
)
def test_an_option_that_does_not_fit_the_address_is_refused(address: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        server_at(address, options)


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name, words in (("ca.pem", "expected PEM"), ("gone.pem", "No such file")):
        with pytest.raises(UsageError, match=words):
            described.Tls(ca_file=tmp_path / name).client_context()
