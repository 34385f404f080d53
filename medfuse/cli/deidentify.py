"""`medfuse deidentify`: studies without the patients' identities, by DICOM PS3.15 annex E."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from medfuse.ingest.deidentify import Record, Secret
    from medfuse.ingest.deidentify.inventory import Held

_SHOWN = 30
"""How many attributes are listed before the rest is counted."""


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with DICOM files and reports, of any names.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write to: new, or made with the same key.")],
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            help="File of the secret key (mode 0600). Without it, a key is made for this run and forgotten.",
        ),
    ] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key file first; it must not exist.")] = False,
    clean_descriptors: Annotated[
        bool, typer.Option("--clean-descriptors", help="Keep descriptions (series, protocol, ...), scrubbed.")
    ] = False,
    retain_dates: Annotated[
        bool, typer.Option("--retain-dates", help="Keep dates, moved by one number of days a patient.")
    ] = False,
    retain_device: Annotated[
        bool, typer.Option("--retain-device", help="Keep what identifies the device: station, serial number.")
    ] = False,
    retain_patient: Annotated[
        bool, typer.Option("--retain-patient-characteristics", help="Keep age (up to 90), sex, size, weight.")
    ] = False,
    retain_safe_private: Annotated[
        bool,
        typer.Option("--retain-safe-private", help="Keep private attributes known to be safe (scales, diffusion)."),
    ] = False,
    keep_burned_in: Annotated[
        bool, typer.Option("--keep-burned-in", help="Write images that may show text in their pixels too.")
    ] = False,
    no_reports: Annotated[bool, typer.Option("--no-reports", help="Hold the texts of reports back.")] = False,
    held_back_list: Annotated[
        Path | None,
        typer.Option(
            "--held-back-list", help="A .csv file, outside OUT, for the paths of what was held back, and why."
        ),
    ] = None,
) -> None:
    """Write studies without the patients' identities: the Basic Profile of DICOM PS3.15 annex E, with its options.

    Structured reports keep their tree, and texts are scrubbed by rules and by the names in the headers. Images that may
    show text (secondary captures, screenshots, ultrasound, photographs) and what medfuse does not know are held back.
    The same key gives the same output, and a stopped run goes on where it was. Exit code 1 says that files were held
    back.

    Rules do not find every identity in free text, and faces can be rebuilt from images of the head: look before you
    release.
    """
    from rich.console import Console
    from rich.progress import Progress

    from medfuse.ingest.deidentify import Options, deidentify_tree

    _check_use(output, key_file, held_back_list, new_key=new_key)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    options = Options(
        clean_descriptors=clean_descriptors,
        retain_dates=retain_dates,
        retain_device=retain_device,
        retain_patient_characteristics=retain_patient,
        retain_safe_private=retain_safe_private,
        keep_burned_in=keep_burned_in,
        reports=not no_reports,
    )
    secret = _secret(key_file, new_key=new_key)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("studies", total=None)
        record, held = deidentify_tree(
            source, output, secret, options, progress=lambda done, n: progress.update(task, completed=done, total=n)
        )
    if held_back_list is not None:
        _write_list(held_back_list, held)
    _tell(console, record, has_key=key_file is not None)
    if record.held_back:
        raise typer.Exit(1)


def _check_use(output: Path, key_file: Path | None, held_back_list: Path | None, *, new_key: bool) -> None:
    """Refuse, before anything is read, what cannot end well."""
    if new_key and key_file is None:
        raise UsageError("--new-key makes a key file; name it with --key-file")
    for option, path in (("--key-file", key_file), ("--held-back-list", held_back_list)):
        if path is not None and output.resolve() in path.resolve().parents:
            raise UsageError(f"{option} {path} lies in {output}, which may be given away; choose another place")
    if held_back_list is not None and not held_back_list.absolute().parent.is_dir():
        raise UsageError(f"--held-back-list {held_back_list}: its folder does not exist; make it first")


def _secret(key_file: Path | None, *, new_key: bool) -> "Secret":
    from medfuse.ingest.deidentify import Secret, create_key_file, read_key_file

    if key_file is None:
        return Secret.random()
    return create_key_file(key_file) if new_key else read_key_file(key_file)


def _write_list(path: Path, held: "Sequence[Held]") -> None:
    """Paths and reasons as CSV, for the owner of the source alone."""
    import csv

    from medfuse.storage import write_file

    def write(aside: Path) -> None:
        aside.touch(mode=0o600)
        with aside.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["reason", "path"])
            rows.writerows(sorted((one.reason, str(one.path)) for one in held))

    write_file(path, write)


def _tell(console: "Console", record: "Record", *, has_key: bool) -> None:
    """The record on the console; counts only."""
    from medfuse.ingest.deidentify.record import WARNING
    from medfuse.ingest.deidentify.tree import RECORD_NAME

    if record.attributes.counts:
        console.print(_attributes(record))
    for reason, n in sorted(record.held_by_reason.items()):
        console.print(f"held back: {reason}: {n} file{'s' if n > 1 else ''}")
    for reason, n in sorted(record.kept_burned_in.items()):
        console.print(f"WARNING: kept although the pixels may show text: {reason}: {n} file{'s' if n > 1 else ''}")
    if record.text:
        console.print("replaced in reports: " + ", ".join(f"{n} {kind}" for kind, n in sorted(record.text.items())))
    console.print(f"WARNING: {WARNING}")
    if not has_key:
        console.print("The key of this run is gone: this output cannot be added to. Use --key-file for one that can.")
    earlier = f", {record.unchanged} of them by an earlier run" if record.unchanged else ""
    typer.echo(
        f"{record.studies} studies of {record.patients} patients written{earlier}: {record.files} DICOM files, "
        f"{record.reports} reports; {sum(record.held_back.values())} files held back. Record: {RECORD_NAME}"
    )


def _attributes(record: "Record") -> "Table":
    """The attributes that were changed most, by action."""
    from rich.table import Table

    table = Table(title="Attributes (X removed, Z emptied, D dummy, U new UID, C cleaned, K kept)")
    for name in ("attribute", "tag", "action"):
        table.add_column(name)
    table.add_column("files", justify="right")
    rows = sorted(record.attributes.counts.items(), key=lambda pair: (-pair[1], pair[0]))
    for (name, tag, action), n in rows[:_SHOWN]:
        table.add_row(name, tag, action, str(n))
    if len(rows) > _SHOWN:
        table.add_row(f"and {len(rows) - _SHOWN} more", "", "", str(sum(n for _, n in rows[_SHOWN:])))
    return table
