"""`medfuse fetch` against a real Orthanc, by DICOMweb and by DIMSE."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from medfuse.cli.main import main
from medfuse.domain import Rejected
from medfuse.errors import ServerError, UsageError
from medfuse.ingest import find_studies
from medfuse.ingest.network.archive import Archive, Query, open_archive
from medfuse.ingest.network.fetch import HIDDEN, FetchedStudy, FetchOptions, fetch_studies
from medfuse.ingest.network.servers import DimseServer, Server, Tls, server_at
from tests.network.conftest import Orthanc
from tests.network.studies import BIG, CHEST, HEAD, NAMES, ROOT, Made, instance

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # see tidy_sockets

EVERYTHING = Query(study_date="19000101-")
PROTOCOLS = ("dicomweb", "dimse")


def described(orthanc: Orthanc, protocol: str, **more: object) -> Server:
    address = orthanc.url if protocol == "dicomweb" else orthanc.address
    server = server_at(address, {"timeout_s": 20, "retries": 1, "backoff_s": 0, **more})
    assert server is not None
    return server


def fetched(
    server: Server, directory: Path, query: Query = EVERYTHING, **options: object
) -> list[FetchedStudy | Rejected]:
    archive = open_archive(server)
    try:
        records = archive.find_studies(query)
        return list(fetch_studies(archive, server, records, FetchOptions(directory=directory, **options)))  # type: ignore[arg-type]
    finally:
        archive.close()


def assert_as_stored(folder: Path, files: dict[str, bytes]) -> None:
    found = {path.stem: path for path in folder.rglob("*.dcm")}
    assert sorted(found) == sorted(files)
    for uid, data in files.items():
        stored, got = pydicom.dcmread(BytesIO(data)), pydicom.dcmread(found[uid])
        assert got.file_meta.TransferSyntaxUID == stored.file_meta.TransferSyntaxUID
        assert got.PixelData == stored.PixelData
        assert got == stored
        assert found[uid].parent.name == stored.SeriesInstanceUID


@pytest.fixture(params=PROTOCOLS)
def archive(request: pytest.FixtureRequest, orthanc: Orthanc) -> Archive:
    return open_archive(described(orthanc, request.param))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(patient_id="PID-4711"), {CHEST, BIG}),
        (Query(accession_number="ACC2"), {HEAD}),
        (Query(study_instance_uid=HEAD), {HEAD}),
        (Query(modality="MR"), {HEAD}),
        (Query(study_date="20240101-20240131"), {CHEST}),
        (Query(study_date="20240220"), {HEAD}),
        (Query(study_date="-20231231"), {BIG}),
        (Query(description="*Übersicht"), {CHEST, BIG}),
        (Query(patient_id="PID-4711", study_date="20240101-"), {CHEST}),
        (Query(patient_id="nobody"), set()),
    ],
    ids=lambda value: "+".join(value.filters()) if isinstance(value, Query) else "",
)
def test_a_search_finds_the_studies_that_fit(archive: Archive, query: Query, expected: set[str]) -> None:
    assert {record.study_instance_uid for record in archive.find_studies(query)} == expected


def test_a_study_is_described_without_its_patient(archive: Archive) -> None:
    (record,) = archive.find_studies(Query(study_instance_uid=CHEST))
    assert (record.study_date, record.n_instances) == ("20240115", 10)
    assert set(record.modalities) == {"CT", "OT"}
    assert record.description == "CT Thorax Übersicht"
    assert "4711" not in repr(record)


def test_a_limit_holds(archive: Archive) -> None:
    assert len(archive.find_studies(EVERYTHING, 2)) == 2
    assert len(archive.find_studies(EVERYTHING)) == 3


def test_instances_are_listed_by_the_modality_of_their_series(archive: Archive) -> None:
    assert len(archive.list_instances(CHEST)) == 10
    assert len(archive.list_instances(CHEST, "CT")) == 9
    assert archive.list_instances(f"{ROOT}.99") == []


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "move"])
def test_what_is_fetched_is_what_was_stored(
    orthanc: Orthanc, made_studies: Made, tmp_path: Path, protocol: str
) -> None:
    more = {"retrieve": "move", "receive_port": orthanc.medfuse, "receive_host": "127.0.0.1"}
    server = described(orthanc, protocol, **(more if protocol == "move" else {}))
    outcomes = fetched(server, tmp_path)
    assert all(isinstance(outcome, FetchedStudy) for outcome in outcomes)
    assert {path.name for path in tmp_path.iterdir()} == {CHEST, HEAD, BIG}
    for uid, files in made_studies.by_study.items():
        assert_as_stored(tmp_path / uid, files)
    assert len(find_studies(tmp_path).studies) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_whole_is_left_alone_until_it_is_refreshed(orthanc: Orthanc, tmp_path: Path, protocol: str) -> None:
    server, query = described(orthanc, protocol), Query(study_instance_uid=CHEST)
    fetched(server, tmp_path, query)
    victim = next(tmp_path.rglob("*.dcm"))
    before = victim.stat().st_ino
    (again,) = fetched(server, tmp_path, query)
    assert isinstance(again, FetchedStudy)
    assert again.n_new == 0
    assert victim.stat().st_ino == before
    (anew,) = fetched(server, tmp_path, query, refresh=True)
    assert isinstance(anew, FetchedStudy)
    assert anew.n_new == 10
    assert victim.stat().st_ino != before


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_series_of_one_modality_come_first_and_the_rest_later(
    orthanc: Orthanc, made_studies: Made, tmp_path: Path, protocol: str
) -> None:
    server, query = described(orthanc, protocol), Query(study_instance_uid=CHEST)
    fetched(server, tmp_path, query, series_modality="CT")
    assert len(list(tmp_path.rglob("*.dcm"))) == 9
    (rest,) = fetched(server, tmp_path, query)
    assert isinstance(rest, FetchedStudy)
    assert rest.n_new == 1
    assert_as_stored(tmp_path / CHEST, made_studies.by_study[CHEST])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_missing_is_asked_for_alone(
    orthanc: Orthanc, made_studies: Made, tmp_path: Path, protocol: str
) -> None:
    server, query = described(orthanc, protocol), Query(study_instance_uid=CHEST)
    fetched(server, tmp_path, query)
    for path in sorted(tmp_path.rglob("*.dcm"))[:2]:
        path.unlink()
    (mended,) = fetched(server, tmp_path, query)
    assert isinstance(mended, FetchedStudy)
    assert mended.n_new == 2
    assert_as_stored(tmp_path / CHEST, made_studies.by_study[CHEST])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_dies_leaves_nothing_half_and_the_next_run_goes_on(
    own_orthanc: Orthanc, tmp_path: Path, protocol: str
) -> None:
    study, total = f"{ROOT}.60", 40
    files = dict(instance(study, 1, number, side=512) for number in range(total))  # more than the system buffers
    for data in files.values():
        own_orthanc.upload(data)
    server = described(own_orthanc, protocol, timeout_s=3)
    directory = tmp_path / "studies"

    def die(uid: str, here: int, total: int) -> None:
        if here == 2:
            own_orthanc.stop()

    (failed,) = fetched(server, directory, progress=die)
    assert isinstance(failed, Rejected)
    assert failed.reason == "INCOMPLETE_STUDY"
    kept = list((directory / HIDDEN / study).rglob("*.dcm"))
    assert 2 <= len(kept) < total
    assert not (directory / study).exists()

    own_orthanc.start()
    (whole,) = fetched(server, directory)
    assert isinstance(whole, FetchedStudy)
    assert whole.n_new == total - len(kept)
    assert [path.name for path in directory.iterdir()] == [study]
    assert_as_stored(directory / study, files)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_study_that_grows_on_the_server_grows_here(own_orthanc: Orthanc, tmp_path: Path, protocol: str) -> None:
    study = f"{ROOT}.50"
    files = dict(instance(study, 1, number) for number in range(3))
    for data in list(files.values())[:2]:
        own_orthanc.upload(data)
    server, directory = described(own_orthanc, protocol), tmp_path / "studies"
    fetched(server, directory)
    own_orthanc.upload(list(files.values())[2])
    (grown,) = fetched(server, directory)
    assert isinstance(grown, FetchedStudy)
    assert grown.n_new == 1
    assert_as_stored(directory / study, files)


def safe_server(address: str, tls: Tls, **more: object) -> Server:
    server = server_at(address, {"timeout_s": 5, "retries": 0, "backoff_s": 0, "tls": tls.model_dump(), **more})
    assert server is not None
    return server


@pytest.fixture(params=PROTOCOLS)
def safe_address(request: pytest.FixtureRequest, safe_orthanc: Orthanc, https_url: str) -> str:
    """Both ends have to prove who they are."""
    return https_url if request.param == "dicomweb" else safe_orthanc.address


def test_tls_carries_a_study_when_both_prove_who_they_are(
    safe_address: str, certificates: Path, made_studies: Made, tmp_path: Path
) -> None:
    tls = Tls(
        ca_file=certificates / "ca.pem", cert_file=certificates / "client.pem", key_file=certificates / "client.key"
    )
    (outcome,) = fetched(safe_server(safe_address, tls), tmp_path, Query(study_instance_uid=HEAD))
    assert isinstance(outcome, FetchedStudy)
    assert_as_stored(tmp_path / HEAD, made_studies.by_study[HEAD])


def test_tls_to_a_server_that_nobody_vouches_for_fails(safe_address: str, certificates: Path) -> None:
    tls = Tls(cert_file=certificates / "client.pem", key_file=certificates / "client.key")
    with pytest.raises(ServerError, match="trusted"):
        open_archive(safe_server(safe_address, tls)).find_studies(EVERYTHING)


def test_tls_to_another_name_than_the_certificate_has_fails(safe_orthanc: Orthanc, certificates: Path) -> None:
    tls = Tls(
        ca_file=certificates / "ca.pem", cert_file=certificates / "client.pem", key_file=certificates / "client.key"
    )
    server = safe_server(safe_orthanc.address.replace("localhost", "127.0.0.2"), tls)
    with pytest.raises(ServerError, match="trusted"):
        open_archive(server).find_studies(EVERYTHING)


def test_tls_without_our_certificate_is_refused_where_the_server_wants_one(
    safe_address: str, certificates: Path
) -> None:
    with pytest.raises(ServerError):
        open_archive(safe_server(safe_address, Tls(ca_file=certificates / "ca.pem"))).find_studies(EVERYTHING)


def test_a_server_may_be_let_off_proving_who_it_is_and_that_is_said(
    https_url: str, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = Tls(verify=False, cert_file=certificates / "client.pem", key_file=certificates / "client.key")
    assert len(open_archive(safe_server(https_url, tls)).find_studies(EVERYTHING)) == 3
    assert "not asked to prove" in caplog.text


def test_a_wrong_title_is_refused_with_advice(orthanc: Orthanc) -> None:
    server = described(orthanc, "dimse")
    assert isinstance(server, DimseServer)
    with pytest.raises(ServerError, match="refused the association") as refusal:
        open_archive(server.model_copy(update={"ae_title": "OTHER"})).find_studies(EVERYTHING)
    assert not refusal.value.passing


def test_a_server_that_hangs_up_on_strangers_is_tried_again_and_named(orthanc: Orthanc) -> None:
    server = described(orthanc, "dimse", calling_ae_title="STRANGER", timeout_s=3)
    with pytest.raises(ServerError, match=f"{orthanc.address} did not answer C-FIND") as refusal:
        open_archive(server).find_studies(EVERYTHING)
    assert refusal.value.passing


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        main(["fetch", *arguments])
    return int(ending.value.code or 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_command_fetches_and_names_nobody(
    orthanc: Orthanc, tmp_path: Path, protocol: str, capfd: pytest.CaptureFixture[str]
) -> None:
    address = orthanc.url if protocol == "dicomweb" else orthanc.address
    asked = (address, "--output", str(tmp_path / "in"), "--patient", "PID-4711", "--limit", "1", "--verbose")
    assert run(*asked, "--dry-run") == 0
    listed = capfd.readouterr()
    assert listed.out.count("\n") == 2
    assert not (tmp_path / "in").exists()
    assert run(*asked) == 0
    said = listed.out + listed.err + "".join(capfd.readouterr())
    assert "1 fetched" in said
    assert not [word for word in ("4711", *NAMES, "Geheim", "19600101") if word in said]
    assert len(list((tmp_path / "in").iterdir())) == 1


def test_the_command_takes_servers_by_name(orthanc: Orthanc, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    servers = tmp_path / "pacs.yaml"
    servers.write_text(f"here:\n  kind: dicomweb\n  url: {orthanc.url}\n")
    options = ("--servers", str(servers), "--output", str(tmp_path / "in"), "--study", HEAD, "--study", CHEST)
    assert run("here", *options) == 0
    assert {path.name for path in (tmp_path / "in").iterdir()} == {HEAD, CHEST}
    assert run("there", *options) == 2
    assert "it has: here" in capfd.readouterr().err


def test_the_command_lists_what_failed_and_goes_on(
    orthanc: Orthanc, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / ".fetching").mkdir()
    (folder / ".fetching" / HEAD).write_text("a file stands in the way")
    assert run(orthanc.url, "--output", str(folder), "--date", "19000101-") == 2
    (folder / ".fetching" / HEAD).unlink()
    assert run(orthanc.url, "--output", str(folder), "--date", "19000101-") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing narrows the search"),
        (("--date", "2024-01-01"), "YYYYMMDD"),
        (("--study", "../etc"), "digits and dots"),
        (("--patient", "a\\b"), "backslash"),
    ],
)
def test_the_command_refuses_what_makes_no_search(
    orthanc: Orthanc, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    assert run(orthanc.url, "--output", str(tmp_path), *options) == 2
    assert words in " ".join(capfd.readouterr().err.split())


def test_a_query_is_checked_before_it_is_sent() -> None:
    with pytest.raises(UsageError, match="UID"):
        replace(Query(patient_id="1"), study_instance_uid="1.2/3")
