"""Compress answers by the Accept-Encoding of the request (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final, Protocol

import zstandard

IDENTITY: Final = "identity"
VARY: Final = {"vary": "Accept-Encoding"}
_GZIP_LEVEL: Final = 3
_CODING = re.compile(
    r"(?P<name>[!#$%&'*+.^_`|~0-9a-z-]+)(?:\s*;\s*q=(?P<q>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?\Z"
)


class Encoder(Protocol):
    """Compresses a body in pieces."""

    def compress(self, data: bytes, /) -> bytes:
        """Take a piece of the body; give the compressed bytes that are ready."""
        ...

    def flush(self) -> bytes:
        """Give the rest of the compressed bytes."""
        ...


class _Identity:
    """Leaves bytes as they are."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _gzip() -> Encoder:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


def _zstd() -> Encoder:
    return zstandard.ZstdCompressor().compressobj()


ENCODERS: Final = {"zstd": _zstd, "gzip": _gzip, IDENTITY: _Identity}
"""Makers of encoders by the name of their coding, the best coding first."""


def preferred(accepted: Sequence[str]) -> str:
    """Choose a coding by the values of Accept-Encoding; `identity` if none is acceptable."""
    weights: dict[str, float] = {}
    for item in ",".join(accepted).lower().split(","):
        if match := _CODING.match(item.strip()):
            weights[match["name"]] = float(match["q"] or 1)
    others = weights.get("*", 0.0)
    weighed = {name: weights.get(name, others) for name in ENCODERS}
    # An identity that is not mentioned is acceptable, but the last choice.
    weighed[IDENTITY] = weights.get(IDENTITY, others if "*" in weights else 0.001)
    best = max(weighed, key=lambda name: weighed[name])  # the first of equals
    return best if weighed[best] else IDENTITY


def compressed(content: bytes, coding: str) -> bytes:
    """Compress a whole body."""
    encoder = ENCODERS[coding]()
    return encoder.compress(content) + encoder.flush()


def headers(coding: str) -> dict[str, str]:
    """Give the headers that name an answer's coding, and that it varies."""
    return VARY if coding == IDENTITY else {**VARY, "content-encoding": coding}
