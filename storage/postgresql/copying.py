r"""Rows as COPY's text format: one line per row, columns between tabs, NULL as \N.

Whole columns are encoded at once, because a call per value costs more than the encoding: texts are
looked through for characters with a meaning in one search over all of them together. A value of
another type than its column's is refused here, since the text that it would make may mean something else.
Source: PostgreSQL, COPY, section "Text Format".
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Boolean, Float, Integer, LargeBinary, Table

from protocols.errors import RowRefused

Encoder = Callable[[Sequence[Any]], Iterable[str]]

NULL: Final = r"\N"

_SPECIAL: Final = re.compile(r"[\\\t\n\r\x00]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def copy_text(encoders: Sequence[Encoder], rows: Sequence[Sequence[object]]) -> bytes:
    """Return what COPY takes for `rows`.

    Raises:
        RowRefused: a value is not of its column's type, or cannot be stored as a text.
    """
    try:
        columns = [
            encode(column) for encode, column in zip(encoders, zip(*rows, strict=True), strict=True)
        ]
        text = "\n".join(map("\t".join, zip(*columns, strict=True)))
        return (text + "\n").encode()
    except (TypeError, AttributeError, UnicodeEncodeError) as exc:
        raise RowRefused(f"A value cannot be stored: {exc}.") from exc


def encoders_of(table: Table, names: Sequence[str]) -> list[Encoder]:
    """Return how the columns of these names are written."""
    return [_encoder(table.c[name].type) for name in names]


def _encoder(column_type: object) -> Encoder:
    # An Integer is also every BigInteger; the rest are texts, among them the UUIDs.
    for kind, encode in (
        (LargeBinary, _binaries),
        (Integer, _integers),
        (Boolean, _booleans),
        (Float, _floats),
    ):
        if isinstance(column_type, kind):
            return encode
    return _texts


def _integers(values: Sequence[Any]) -> Iterable[str]:
    if None in values:
        return [NULL if value is None else int.__repr__(value) for value in values]
    # Not `str`: of a boolean, which is an integer too, it makes a word.
    return map(int.__repr__, values)


def _booleans(values: Sequence[Any]) -> Iterable[str]:
    return [NULL if value is None else "t" if value else "f" for value in values]


def _floats(values: Sequence[Any]) -> Iterable[str]:
    return [NULL if value is None else repr(float(value)) for value in values]


def _binaries(values: Sequence[Any]) -> Iterable[str]:
    return [NULL if value is None else r"\\x" + bytes.hex(value) for value in values]


def _texts(values: Sequence[Any]) -> Iterable[str]:
    given = [value for value in values if value is not None] if None in values else values
    whole = "".join(given)
    if _SPECIAL.search(whole) is None:
        if given is values:
            return values
        return [NULL if value is None else value for value in values]
    if "\x00" in whole:
        raise RowRefused("A value cannot be stored: a text holds a NUL character.")
    return [NULL if value is None else value.translate(_ESCAPES) for value in values]
