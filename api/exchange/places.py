"""Places: claims with coordinates as GeoJSON (RFC 7946), one feature for each place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from api.core.large_input import in_thread, work_on
from api.core.request import Request, encoded

_SHOWN: Final = ("role", "name", "country_code", "qualifier", "precision", "uncertainty_m")
"""The properties of a place that a feature has, beside those of its claim."""


class _Located(msgspec.Struct):
    """What a feature says of a claim."""

    id: str
    version: int
    text: str
    kind: str | None
    review_status: str
    places: list[dict[str, Any]]


class Places:
    """Writes the claims of a list as one collection of features."""

    headers: Mapping[str, str] = {}

    def __init__(self) -> None:
        """Begin without a feature."""
        self._has_begun = False

    def begin(self) -> bytes:
        """Write the beginning of the collection."""
        return b'{"type":"FeatureCollection","features":['

    async def write(self, _: Request, documents: list[bytes]) -> list[bytes]:
        """Write a feature for each place with coordinates."""
        return await in_thread(self._features, documents)

    def end(self, _: int) -> bytes:
        """Write the end of the collection."""
        return b"]}"

    def _features(self, documents: list[bytes]) -> list[bytes]:
        pieces = []
        for document in documents:
            for feature in features(document):
                pieces.append((b"," if self._has_begun else b"") + encoded(feature))
                self._has_begun = True
        return pieces


async def write_claim(_: Request, document: bytes) -> bytes:
    """Write the places of one claim, as a collection."""
    return await work_on(len(document), collection, document)


def collection(document: bytes) -> bytes:
    """Write the collection of the features of one claim."""
    return encoded({"type": "FeatureCollection", "features": features(document)})


def features(document: bytes) -> list[dict[str, Any]]:
    """Make the features of a claim; their positions are longitude and latitude (RFC 7946)."""
    claim = msgspec.json.decode(document, type=_Located)
    return [
        {
            "type": "Feature",
            "id": f"{claim.id}#/places/{number}",
            "geometry": {"type": "Point", "coordinates": [place["longitude"], place["latitude"]]},
            "properties": {
                "claim_id": claim.id,
                "version": claim.version,
                "text": claim.text,
                "kind": claim.kind,
                "review_status": claim.review_status,
                **{name: place[name] for name in _SHOWN},
            },
        }
        for number, place in enumerate(claim.places)
        if place["latitude"] is not None and place["longitude"] is not None
    ]
