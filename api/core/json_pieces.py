"""Decode a large JSON text in many short calls.

Python lets no other thread run during a call into C, and the event loop may have to wait for two
such calls before it has its turn. So no call decodes more than :data:`PIECE_BYTES`, whatever makes
the text long: lists, objects, a string, or blanks. msgspec decodes the pieces, and so checks their
text; this module checks the characters between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgspec

from api.core.errors import MALFORMED_JSON, Problem

PIECE_BYTES: Final = 65_536


def masked(text: bytes) -> bytes:
    """Give a text of the same length, in which underscores stand for what is in the strings."""
    pieces: list[bytes] = []
    inside = False  # whether a piece begins inside a string
    for piece in _pieces(text, 0, len(text)):
        escapes = b"\\" in piece
        plain = piece.replace(rb"\\", b"__").replace(rb"\"", b"__") if escapes else piece
        parts = plain.split(b'"')
        parts[not inside :: 2] = [b"_" * len(part) for part in parts[not inside :: 2]]
        pieces.append(b'"'.join(parts))
        inside ^= len(parts) % 2 == 0
    return b"".join(pieces)


def decode(text: bytes, mask: bytes) -> Any:  # noqa: ANN401 - JSON
    """Decode a text, whose mask :func:`masked` gives.

    Raises a problem that names the byte if it is no JSON, and msgspec's ValidationError for a
    number that is too large.
    """
    return _Decoding(text, mask).value(0, len(text))


class _Decoding:
    """One text and its mask; all places are those in the whole text."""

    def __init__(self, text: bytes, mask: bytes) -> None:
        self._text = text
        self._mask = mask

    def value(self, start: int, end: int) -> Any:  # noqa: ANN401 - JSON
        """Decode the value that stands between two places."""
        start, end = self._without_blanks(start, end)
        if end - start > PIECE_BYTES:
            match self._mask[start : start + 1], self._mask[end - 1 : end]:
                case b'"', b'"':
                    return self._string(start + 1, end - 1)
                case b"[", b"]":
                    return self._list(start + 1, end - 1)
                case b"{", b"}":
                    return self._object(start + 1, end - 1)
                case _:
                    pass  # a long number, or no JSON
        return self._decoded(b"", start, end, b"")

    def _list(self, start: int, end: int) -> list[Any]:
        values: list[Any] = []
        for begin, stop in self._items(start, end):
            if stop - begin > PIECE_BYTES:
                values.append(self.value(begin, stop))
            else:
                values += self._decoded(b"[", begin, stop, b"]") or self._nothing(begin, stop)
        return values

    def _object(self, start: int, end: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for begin, stop in self._items(start, end):
            if stop - begin > PIECE_BYTES:
                colon = self._mask.find(b":", begin, stop)
                if colon < 0:
                    self._fail(begin, "a key and a colon are missing")
                key = self.value(begin, colon)
                if not isinstance(key, str):
                    self._fail(begin, "a key is no string")
                values[key] = self.value(colon + 1, stop)
            else:
                values |= self._decoded(b"{", begin, stop, b"}") or self._nothing(begin, stop)
        return values

    def _nothing(self, start: int, end: int) -> Any:  # noqa: ANN401 - of no list or object
        self._fail(self._without_blanks(start, end)[0], "an item is missing")

    def _items(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Cut what is between two brackets at commas: into one item, or some that are short.

        There is no comma between the last one of a window and the first one of the next window that
        has any, so what is longer than a window is one item.
        """
        if self._without_blanks(start, end)[0] == end:
            return
        begin = start
        for comma in self._commas(start, end):
            yield begin, comma
            begin = comma + 1
        yield begin, end

    def _commas(self, start: int, end: int) -> Iterator[int]:
        """Give the first and the last comma in each window that is in no inner brackets."""
        depth = 0
        for at in range(start, end, PIECE_BYTES):
            window = self._mask[at : min(at + PIECE_BYTES, end)]
            brackets = window.translate(None, delete=_NO_BRACKETS)
            closing = brackets.count(b"]") + brackets.count(b"}")
            if closing < depth:  # it ends where it began: in an inner value
                depth += len(brackets) - 2 * closing
                continue
            first = last = -1
            place = at
            for part, bracket in zip(
                window.translate(_ONE_BRACKET).split(b"["), brackets + b" ", strict=True
            ):
                if depth == 0 and (comma := part.rfind(b",")) >= 0:
                    last = place + comma
                    first = place + part.find(b",") if first < 0 else first
                depth += _DEEPER.get(bracket, 0)
                place += len(part) + 1
            if first >= 0:
                yield first
            if last > first:
                yield last

    def _string(self, start: int, end: int) -> str:
        pieces = _pieces(self._text, start, end)
        texts: list[str] = []
        for piece in pieces:
            texts.append(self._decoded(b'"', start, start + len(piece), b'"'))
            start += len(piece)
        return "".join(texts)

    def _without_blanks(self, start: int, end: int) -> tuple[int, int]:
        """Move two places over the blanks between them."""
        while start < end and self._mask[start] in _BLANKS:
            left = self._mask[start : min(start + PIECE_BYTES, end)]
            start += len(left) - len(left.lstrip(_BLANKS))
        while start < end and self._mask[end - 1] in _BLANKS:
            left = self._mask[max(end - PIECE_BYTES, start) : end]
            end -= len(left) - len(left.rstrip(_BLANKS))
        return start, end

    def _decoded(self, before: bytes, start: int, end: int, after: bytes) -> Any:  # noqa: ANN401
        """Decode a piece between two marks."""
        try:
            return msgspec.json.decode(before + self._text[start:end] + after)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason, _, rest = str(error).partition(" (byte ")
            place = int(rest.rstrip(")")) if rest else 0
            self._fail(min(start + place - len(before), end), reason)

    def _fail(self, place: int, reason: str) -> NoReturn:
        raise Problem(MALFORMED_JSON, f"{reason} (byte {place}).") from None


def _pieces(text: bytes, start: int, end: int) -> Iterator[bytes]:
    """Cut a text, or a part of it, where no character and no escape of a string is split."""
    while start < end:
        stop = _unsplit(text, start, start + PIECE_BYTES) if end - start > PIECE_BYTES else end
        yield text[start:stop]
        start = stop


def _unsplit(text: bytes, start: int, stop: int) -> int:
    """Move the end of a piece back to where no character begins before it and ends behind it."""
    while text[stop] in _FURTHER_BYTES:  # of a character
        stop -= 1
    for _ in range(2):  # the second half of a pair of escapes, then the first
        slash = text.rfind(b"\\", stop - _ESCAPE_BYTES, stop)
        run = text[start : slash + 1]
        if slash < 0 or (len(run) - len(run.rstrip(b"\\"))) % 2 == 0:
            break  # there is none, or it is itself escaped
        length = _ESCAPE_BYTES if text[slash + 1] == ord("u") else 2
        if slash + length > stop or text[slash + 1 : slash + 4].lower() in _FIRST_OF_PAIR:
            stop = slash
    return stop


_FURTHER_BYTES: Final = bytes(range(0b1000_0000, 0b1100_0000))
_BLANKS: Final = b" \t\r\n"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ONE_BRACKET: Final = bytes.maketrans(b"]{}", b"[[[")
_DEEPER: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_ESCAPE_BYTES: Final = len(rb"\u0000")
_FIRST_OF_PAIR: Final = {b"ud8", b"ud9", b"uda", b"udb"}
