"""`medfuse audit`: whether what was decided is still what was said."""

from pathlib import Path
from typing import Annotated

import typer

from medfuse.errors import UsageError


def audit(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="A folder of results or decisions, a reviews.sqlite, or a database URL.",
            show_default=False,
        ),
    ],
    head: Annotated[
        str,
        typer.Option(help="Hash that an earlier audit printed: it must still be in the chain.", show_default=False),
    ] = "",
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of the corrected segmentations, where DIR is a URL or a file.", show_default=False),
    ] = None,
) -> None:
    """Verify that no decision was changed, removed or inserted, and that corrected segmentations are what they were.

    Each decision carries a hash over its content and the decision before it. The last line holds the hash of the
    newest one: kept elsewhere and given back with --head, it also shows that nothing was cut off at the end.

    Exit codes: 0 everything is as it was kept, 1 something is not (the first broken row is named).

    Args:
        place: Where the decisions lie.
        head: Hash of an earlier audit.
        masks: Folder of the corrected segmentations.

    Raises:
        UsageError: There are no decisions.
        StorageError: They cannot be read.
        Exit: Something is not as it was kept.
    """
    from medfuse.review.audit import audit_reviews
    from medfuse.review.database import FILE_NAME, Database
    from medfuse.review.room import decisions_folder

    is_url = "://" in place
    folder = Path(place)
    if not is_url and not folder.exists():
        raise UsageError(f"{place} does not exist; give a folder of results or decisions")
    if not is_url and folder.is_dir() and not (folder / FILE_NAME).is_file():
        folder = decisions_folder(folder)
    database = Database(place if is_url else folder, create=False)
    beside = folder if folder.is_dir() else folder.parent
    found = audit_reviews(database, masks or beside / "segmentations", head=head)
    database.close()
    if found.broken:
        typer.echo(f"BROKEN at row {found.broken.number}: {found.broken.detail}.", err=True)
    if not found.is_guarded:
        typer.echo("The triggers that refuse changes are gone.", err=True)
    if found.holds_head is False:
        typer.echo("The chain does not hold the hash given with --head: rows were cut off or replaced.", err=True)
    for sha256 in found.lost_masks:
        typer.echo(f"The corrected segmentation {sha256} is missing or changed.", err=True)
    if not found.is_whole:
        raise typer.Exit(1)
    rows = "1 row" if found.rows == 1 else f"{found.rows} rows"
    typer.echo(f"{rows}, every one as it was kept. Newest: {found.head or 'none'}")
