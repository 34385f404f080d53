"""`scores.parquet`: the rows of `scores.csv`, typed, through polars."""

from collections.abc import Sequence
from pathlib import Path

from medfuse.outputs.table_columns import is_number, is_truth, unguarded
from medfuse.storage import write_file


def write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write the table, whole or not at all; an empty number or truth becomes null.

    Args:
        path: Where it goes.
        columns: As `table_columns.columns_of` gives them.
        rows: Cells as in `scores.csv`.

    Raises:
        StorageError: It could not be written.
    """
    import polars as pl

    texts = [[unguarded(row[n]) for row in rows] for n in range(len(columns))]
    series = []
    for column, values in zip(columns, texts, strict=True):
        as_text = pl.Series(column, values, dtype=pl.String)
        if is_number(column):
            series.append(as_text.replace("", None).cast(pl.Float64))
        elif is_truth(column):
            series.append(as_text.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean))
        else:
            series.append(as_text)
    frame = pl.DataFrame(series)
    write_file(path, lambda aside: frame.write_parquet(aside))
