"""From a review to its records: the claim, its rating, its sources and its articles.

What the review lacks stays unknown. A review is refused if it lacks something that a record needs,
or if its meaning could only be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from api.core.validation import check
from api.sync.importing.reviews.articles import MAX_ARTICLES, Article, is_claim, read_articles
from api.sync.importing.reviews.documents import FoundReview
from api.sync.importing.reviews.nodes import Node, Reader, Shared
from api.sync.importing.reviews.ratings import Rating
from api.sync.importing.reviews.reading import MAX_TEXT, Json, digest, external_id, read_time
from api.sync.importing.reviews.sources import Source, read_claimants
from schemas.base import Fault, Path
from schemas.claims import Assessment
from schemas.vocabularies import ExtractionMethod

AGENT: Final = "ClaimReview"
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}\Z")
_OWN_ID: Final = re.compile(r"urn:uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z")
"""The id of a claim as the linked data of this service writes it."""


class Review(NamedTuple):
    """The records that are written for a review."""

    path: Path
    external_id: str  # of the claim
    own_id: str | None  # of the claim, if the review names it as this service does
    claim: Json
    assessment: Json  # as a claim has it
    claimants: list[Source]
    articles: list[Article]

    @property
    def sources(self) -> list[Source]:
        """The claimants, and the publishers of the articles."""
        publishers = [each.publisher for each in self.articles if each.publisher is not None]
        return [*self.claimants, *publishers]


def map_review(found: FoundReview, shared: Shared) -> Review | list[Fault]:
    """Give the records of a review, or what is wrong with it."""
    if found.node is None:
        return [Fault(found.path, "wrong-type", "A review must be an object.")]
    reader = Reader(shared)
    review = _Mapping(reader, found.node, found.claim).review()
    if reader.faults:
        return reader.faults
    rating, faults = check(review.assessment, Assessment)
    if rating is None or faults:
        return [fault.under(*review.path) for fault in faults]
    return review._replace(assessment=msgspec.to_builtins(rating))


class _Mapping:
    """Maps a review, and notes its faults with the reader."""

    def __init__(self, reader: Reader, node: Node, claim: Node | None) -> None:
        self._reader = reader
        self._node = node
        self._items = list(self._reviewed()) or ([claim] if claim is not None else [])
        self._url = self._address() or ""

    def review(self) -> Review:
        """Give the records of the review; they count only if no fault was noted."""
        reviewed = self._node.place("itemReviewed")
        claims = self._claims()
        iri = next((each.iri for each in claims if each.iri), None)
        own = _OWN_ID.match(iri or "")
        claimants = list(read_claimants(self._reader, self._items, reviewed, self._url))
        claim = self._claim(claims)
        return Review(
            self._node.path,
            external_id(iri) if iri else self._claim_id(claim["text"]),
            own[1] if own else None,
            claim,
            Rating(self._reader, self._node, self._url).assessment(),
            claimants,
            list(read_articles(self._reader, self._items, reviewed, self._url)),
        )

    def _reviewed(self) -> Iterator[Node]:
        """Give the reviewed things: claims, or the works in which they are made."""
        for each in self._reader.nodes(self._node, "itemReviewed", MAX_ARTICLES):
            if isinstance(each, Node):
                yield each
            else:
                detail = "It must be an object, such as a `Claim` with its `author`."
                self._reader.refuse(each.path, "wrong-type", detail)

    def _claims(self) -> list[Node]:
        """Give the reviewed claim, if there is one; the same claim may stand there twice."""
        claims = [each for each in self._items if is_claim(each)]
        if any(each.properties != claims[0].properties for each in claims[1:]):
            detail = (
                f"It must be one claim, not {len(claims)}. Send a review for each of them; "
                "give a work in which the claim is made its `@type`, such as `Article`."
            )
            self._reader.refuse(self._node.place("itemReviewed"), "invalid-value", detail)
        return claims

    def _address(self) -> str | None:
        """Give the address of the review, by which a later import recognises its rating."""
        if url := self._reader.url(self._node, "url") or self._reader.iri_as_url(self._node):
            return url
        places = place, _ = self._node.place("url"), self._node.place("@id")
        if not any(map(self._reader.has_refused, places)):
            detail = "A review needs its address, by which it is recognised when it is sent again."
            self._reader.refuse(place, "required", detail)
        return None

    def _claim_id(self, text: str) -> str:
        """Name a claim that has no id: a page has several reviews, which differ by their words."""
        return external_id(f"{self._url}#{digest(text)}")

    def _claim(self, claims: list[Node]) -> Json:
        """Give the claim without its sources and articles."""
        text = self._reader.text(self._node, "claimReviewed", MAX_TEXT)
        for claim in claims:
            text = text or self._reader.text(claim, "text", MAX_TEXT)
            text = text or self._reader.text(claim, "name", MAX_TEXT)
        place = self._node.place("claimReviewed")
        if text is None and not self._reader.has_refused(place):
            detail = "Say what is claimed, here or in `text` of a `Claim` in `itemReviewed`."
            self._reader.refuse(place, "required", detail)
        said = [claim for claim in claims if self._reader.values(claim, "datePublished")]
        stated = read_time(self._reader, said[0], "datePublished") if said else None
        if stated is None and claims:
            stated = read_time(self._reader, claims[0], "dateCreated")
        return {
            "text": text or "",
            "language": self._language(claims),
            "stated": stated,
            "extraction": {"method": ExtractionMethod.IMPORT, "agent": AGENT},
        }

    def _language(self, claims: list[Node]) -> str:
        """Give the language in which the claim is told, if it is a tag of BCP 47."""
        for node in (self._node, *claims):
            for _, value in self._reader.values(node, "inLanguage"):
                if isinstance(value, str) and _LANGUAGE.match(value.strip()):
                    return value.strip()
        return "und"
