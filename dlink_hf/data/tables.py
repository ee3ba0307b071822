# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Label and event tables as common programs write them: any common encoding, every fault named by file and line."""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np


logger = logging.getLogger(__name__)


def read_table(path: Path, needed: Sequence[str], delimiter: str) -> list[dict[str, str]]:
    """Return the rows of a table by column, all text, without the blanks around it.

    Args:
        path: The file; UTF-8, UTF-16, or else read as Windows' cp1252 (which Latin-1 is a part of), with a warning.
        needed: Columns that must be there.
        delimiter: Between columns.

    Returns:
        At least one row.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing or named twice, a row has more fields than the header or lacks a needed
            one, or the text is not a table; the message names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the label table {path} does not exist.")
    reader = csv.reader(io.StringIO(_text_of(path), newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[dict[str, str]] = []
    columns: list[str] | None = None
    try:
        for fields in reader:
            if not fields:
                continue
            if columns is None:
                columns = _columns(fields, path, needed, delimiter)
                continue
            if len(fields) > len(columns):
                raise ValueError(
                    f"{path.name}, line {reader.line_num}: {len(fields)} fields, but the header names {len(columns)} "
                    f"columns ({', '.join(columns)}). Put text that holds {delimiter!r} into double quotes."
                )
            row = dict.fromkeys(columns, "") | {
                name: text.strip() for name, text in zip(columns, fields, strict=False)
            }
            absent = [name for name in needed if columns.index(name) >= len(fields)]
            if absent:
                raise ValueError(
                    f"{path.name}, line {reader.line_num}: {len(fields)} fields, so that {', '.join(absent)} is "
                    f"missing; the header names {len(columns)} columns."
                )
            rows.append(row)
    except csv.Error as error:
        raise ValueError(
            f"{path.name}, line {reader.line_num}: this is not a table of text ({error}). Is a double quote missing?"
        ) from error
    if columns is None:
        raise ValueError(f"{path.name} is empty: its first line names the columns {', '.join(needed)}.")
    if not rows:
        raise ValueError(f"{path.name} has a header but no rows.")
    return rows


def _columns(fields: Sequence[str], path: Path, needed: Sequence[str], delimiter: str) -> list[str]:
    """The names of the columns, judged."""
    columns = [name.strip() for name in fields]
    missing = [name for name in needed if name not in columns]
    if missing:
        kind = "tabs" if delimiter == "\t" else "commas"
        raise ValueError(
            f"{path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: its first line gives "
            f"{columns[:20]}, read with {kind} between columns. Needed: {', '.join(needed)}."
        )
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise ValueError(f"{path.name} names the columns {', '.join(twice)} more than once: rename all but one.")
    return columns


def _text_of(path: Path) -> str:
    """The text of a file, by its byte order mark, its NULs or its validity as UTF-8."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(data) > 3 and data[1] == 0 and data[3] == 0:
        encoding = "utf-16-le"
    elif len(data) > 3 and data[0] == 0 and data[2] == 0:
        encoding = "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise ValueError(
                f"{path.name} begins as {encoding.upper()} text and is damaged at byte {error.start}: save it again "
                "as UTF-8."
            ) from error
    try:
        text = data.decode("cp1252")
        logger.warning("%s is not UTF-8; read as cp1252 (Western European). Save it as UTF-8 to be sure.", path.name)
        return text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is neither UTF-8, UTF-16 nor cp1252 (byte {error.start} is {data[error.start]:#04x}): save "
            "it again as UTF-8."
        ) from error


def as_number(text: str, path: Path, line: int, column: str) -> float:
    """Return a field as a finite number of seconds.

    Raises:
        ValueError: If it is none; the message names file, line and column.
    """
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{path.name}, line {line}: {column} is {text[:80]!r}, expected a number of seconds.")
    return value


__all__ = ["as_number", "read_table"]
