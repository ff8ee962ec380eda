"""The files of a transfer: what their names tell, compressed or not, and whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final, NamedTuple

import zstandard

from api.core.codings import IDENTITY
from api.sync.transfer.errors import TransferError

STANDARD: Final = "-"
"""The name that stands for stdin or stdout."""
_CODINGS: Final = {".gz": "gzip", ".zst": "zstd"}
_READ_BYTES: Final = 65_536
_COMPRESSED_BYTES: Final = 1_024
"""How much of a compressed file is read at a time: it may become many thousand times larger."""


class Kind(NamedTuple):
    """What a file's name tells: its format ("" if nothing), and how it is compressed."""

    format: str
    coding: str


def kind_of(name: str) -> Kind:
    """Read the endings of a file's name, such as `.csv.gz`."""
    path = PurePath(name)
    coding = _CODINGS.get(path.suffix.lower(), IDENTITY)
    if coding != IDENTITY:
        path = path.with_suffix("")
    return Kind(path.suffix.lower().removeprefix("."), coding)


# --- writing -------------------------------------------------------------------------------------


@contextmanager
def new_file(file: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name, or the place of the file of that name, when it is whole.

    If it is new, only its owner may read it: it may hold what not everybody may see.
    """
    place = Path(os.path.realpath(file))
    if place.exists() and not place.is_file():
        message = f"{file} is not a regular file. Name another file, or `{STANDARD}` for stdout."
        raise TransferError(message)
    try:
        with _unfinished(place) as unfinished:
            with unfinished.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            if place.exists():
                shutil.copymode(place, unfinished)
            unfinished.replace(place)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TransferError(f"{file} cannot be written: {reason}.") from error


@contextmanager
def _unfinished(place: Path) -> Iterator[Path]:
    """Make a file beside the place of the finished one, and remove it if it is still there."""
    descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.unfinished-", dir=place.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


# --- reading -------------------------------------------------------------------------------------


def read_pieces(file: BinaryIO, coding: str) -> Iterator[bytes]:
    """Read a file to its end, in pieces; raise an error if it is cut off or damaged."""
    if coding == IDENTITY:
        yield from iter(lambda: file.read(_READ_BYTES), b"")
        return
    pieces = iter(lambda: file.read(_COMPRESSED_BYTES), b"")
    try:
        yield from _decompressed(pieces, _DECODERS[coding])
    except (zlib.error, zstandard.ZstdError) as error:
        raise TransferError(f"The file is damaged, or not compressed with {coding}.") from error


def _decompressed(pieces: Iterator[bytes], decoder_of: Callable[[], Any]) -> Iterator[bytes]:
    """Decompress a file, which may have several compressed parts, one behind the other."""
    decoder = decoder_of()
    for piece in pieces:
        rest = piece
        while rest:
            if decoder.eof:
                decoder = decoder_of()
            yield decoder.decompress(rest)
            rest = decoder.unused_data
    if not decoder.eof:
        raise TransferError("The compressed file is cut off: its end is missing.")


_DECODERS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
