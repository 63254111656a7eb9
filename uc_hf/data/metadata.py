"""metadata.csv, .jsonl or .parquet: what somebody wrote about the pictures of a folder, one row a picture.

A score reads it. It is published on request alone: it can say who took a picture, and where.
"""

import csv
import io
import json
import logging
import posixpath
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from uc_hf.errors import DatasetError, counted, first_line, shown
from uc_hf.files import write_whole


logger = logging.getLogger(__name__)

NAMES = frozenset(("metadata.csv", "metadata.jsonl", "metadata.parquet"))

FILE_NAME = "file_name"
"""The column that names the picture, from the folder of the file."""


@dataclass(frozen=True)
class Metadata:
    """What is said of the pictures of a folder.

    Attributes:
        table: its columns.
        rows: picture -> its row in the table; a picture that is not described has none.
    """

    table: pa.Table
    rows: Mapping[Path, int]

    @property
    def features(self) -> datasets.Features:
        """Of the columns."""
        return datasets.Features.from_arrow_schema(self.table.schema)

    def of(self, pictures: Sequence[Path]) -> pa.Table:
        """The rows of some pictures, in their order; of one that is not described every value is missing."""
        return self.table.take(pa.array([self.rows.get(picture) for picture in pictures], pa.int64()))


def read_metadata(root: Path, files: Sequence[Path], pictures: Sequence[Path]) -> Metadata:
    """Read what is said of the pictures of a folder.

    Args:
        root: the folder.
        files: those of `NAMES` in it.
        pictures: in it.

    Raises:
        DatasetError: a file that cannot be read, names none of the pictures, or describes one twice.
    """
    known, tables = set(pictures), []
    rows: dict[Path, int] = {}
    for file in files:
        table = _read(root / file)
        if FILE_NAME not in table.column_names or "image" in table.column_names:
            raise DatasetError(
                f"{shown(root / file)} needs a column {FILE_NAME!r}, and none that is called 'image'; it has "
                f"{', '.join(map(shown, table.column_names))}."
            )
        names = table[FILE_NAME].to_pylist()
        places = [_picture(file, name, known) for name in names]
        unknown = [name for name, place in zip(names, places, strict=True) if place is None]
        _say_unknown(root / file, unknown, len(names))
        for place in filter(None, places):
            if place in rows:
                raise DatasetError(f"{shown(root / file)} describes {shown(place)} a second time. Keep one row.")
            rows[place] = len(rows)
        there = pa.array([place is not None for place in places], pa.bool_())
        tables.append(table.drop_columns(FILE_NAME).filter(there))
    try:
        whole = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise DatasetError(f"the metadata files of {root} do not fit together: {first_line(error)}.") from error
    empty = [field.name for field in whole.schema if pa.types.is_null(field.type)]
    return Metadata(whole.drop_columns(empty), rows)


def write_metadata(root: Path, files: Sequence[Path], copies: Mapping[Path, Path], out: Path) -> None:
    """Write the metadata files of a folder beside the copies of its pictures, with the names of these.

    Args:
        root: the folder.
        files: those of `NAMES` in it.
        copies: picture -> its copy; rows of others stay behind.
        out: the folder of the copies.

    Raises:
        OutputError: one cannot be written.
    """

    def renamed(file: Path, name: object) -> str | None:
        picture = _picture(file, name, copies)
        return None if picture is None else posixpath.relpath(copies[picture].as_posix(), file.parent.as_posix())

    for file in files:
        if file.suffix == ".parquet":
            table = pq.read_table(root / file)
            names = [renamed(file, name) for name in table[FILE_NAME].to_pylist()]
            place = table.column_names.index(FILE_NAME)
            table = table.set_column(place, FILE_NAME, pa.array(names, pa.string())).filter(
                pa.array([name is not None for name in names])
            )
            stream = io.BytesIO()
            pq.write_table(table, stream)
            write_whole(out / file, stream.getvalue())
            continue
        text = (root / file).read_text(encoding="utf-8-sig")
        described = csv.DictReader(io.StringIO(text, newline="")) if file.suffix == ".csv" else _lines(text)
        rows = [row | {FILE_NAME: name} for row in described if (name := renamed(file, row.get(FILE_NAME)))]
        write_whole(out / file, (_csv(rows) if file.suffix == ".csv" else _jsonl(rows)).encode())


def _picture(file: Path, name: object, known: Container[Path]) -> Path | None:
    """The picture that a row of a metadata file means, from their folder; Windows writes backslashes."""
    written = (str(name), str(name).replace("\\", "/"))
    places = (Path(posixpath.normpath(posixpath.join(file.parent.as_posix(), name))) for name in written)
    return next((place for place in places if place in known), None)


def _say_unknown(file: Path, names: Sequence[object], n_rows: int) -> None:
    """Name what is described and not there; refuse a file of which that is all."""
    if not names:
        return
    first = shown(names[0])
    if len(names) == n_rows:
        raise DatasetError(
            f"{shown(file)} names none of the pictures beside it: {FILE_NAME} is {first} in its first row. Write each "
            "picture's name as it is in the folder, or take the file away."
        )
    lost = counted(len(names), "picture")
    logger.warning("%s describes %s that the folder lacks; the first is %s.", shown(file), lost, first)


def _read(file: Path) -> pa.Table:
    try:
        if file.suffix == ".csv":
            _check_fields(file)
            table = pa.Table.from_pandas(pd.read_csv(file), preserve_index=False)
            kinds = [(field.name, _usual(field.type)) for field in table.schema]
            table = table.cast(pa.schema(kinds))
        elif file.suffix == ".jsonl":
            table = pyarrow.json.read_json(file)
        else:
            table = pq.read_table(file)
        # Without what `datasets` has noted down in it: no column can point to a file.
        table = table.replace_schema_metadata(None)
        datasets.Features.from_arrow_schema(table.schema)
    except (OSError, ValueError, TypeError, LookupError, pa.ArrowException) as error:
        raise DatasetError(f"{shown(file)} cannot be read: {first_line(error)}. Mend it, or take it away.") from error
    return table


def _check_fields(file: Path) -> None:
    """Refuse a row with more fields than the header, whose first pandas would take for a name of the row."""
    with file.open(encoding="utf-8-sig", newline="") as text:
        lines = csv.reader(text)
        width = len(next(lines, ()))
        for fields in lines:
            if len(fields) > width:
                raise ValueError(f"line {lines.line_num} has {len(fields)} fields, and the header {width}")


def _usual(kind: pa.DataType) -> pa.DataType:
    """The type that other libraries expect where pandas has one of its own."""
    return pa.string() if pa.types.is_large_string(kind) else kind


def _lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _jsonl(rows: Sequence[Mapping]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Sequence[Mapping]) -> str:
    if not rows:
        return ""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
