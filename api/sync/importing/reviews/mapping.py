"""From a review to what is written of it: the claim, its rating, its claimants and articles.

What the review lacks stays unknown. It is refused where it lacks what a record can't do without,
or says something in a form that could only be guessed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from api.core.validation import check
from api.sync.importing.reviews.documents import FoundReview
from api.sync.importing.reviews.nodes import Node, Reader, Shared, Value
from api.sync.importing.reviews.values import MAX_EXPRESSION, as_bound, as_number, as_time
from schemas.base import Fault, Path
from schemas.claims import Assessment
from schemas.vocabularies import ArticleKind, AttributionRole, ExtractionMethod, SourceKind

Json = dict[str, Any]

NAMESPACE: Final = "schema.org"
"""The namespace of the external ids by which a later import finds the records again."""
AGENT: Final = "ClaimReview"
MAX_CLAIMANTS: Final = 20
MAX_ARTICLES: Final = 20
MAX_NAMES: Final = 20
_MAX_LINE: Final = 500
_MAX_TEXT: Final = 10_000
_MAX_HEADLINE: Final = 2_000
_MAX_EXTERNAL_ID: Final = 400
_DIGEST: Final = 32
_KINDS: Final[Mapping[str, SourceKind]] = {
    "Person": SourceKind.PERSON,
    "Organization": SourceKind.ORGANISATION,
    "Corporation": SourceKind.ORGANISATION,
    "NGO": SourceKind.ORGANISATION,
    "PoliticalParty": SourceKind.ORGANISATION,
    "GovernmentOrganization": SourceKind.GOVERNMENT_BODY,
    "Country": SourceKind.STATE,
    "NewsMediaOrganization": SourceKind.PUBLICATION,
    "Periodical": SourceKind.PUBLICATION,
    "Newspaper": SourceKind.PUBLICATION,
}
_DIGITS: Final = re.compile(r"[+-]?[0-9.,]*[0-9]\Z")
"""A number, in whatever form."""
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}\Z")
_OWN_ID: Final = re.compile(r"urn:uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z")
"""The id of a claim as the linked data of this service writes it."""


class Source(NamedTuple):
    """A source: its external id, what is known of it, and where that stands."""

    external_id: str
    record: Json
    path: Path


class Article(NamedTuple):
    """An article in which the claim appears; without an address, it has a headline."""

    external_id: str
    record: Json
    publisher: Source | None
    path: Path

    @property
    def url(self) -> str | None:
        """Its address."""
        url: str | None = self.record.get("url")
        return url


class Review(NamedTuple):
    """What is written of a review."""

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
    """Give what is written of a review, or what is wrong with it."""
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
        """Give what is written of the review, which counts only if there is no fault."""
        claims = self._claims()
        iri = next((each.iri for each in claims if each.iri), None)
        own = _OWN_ID.match(iri or "")
        claimants = list(self._claimants())
        claim = self._claim(claims)
        return Review(
            self._node.path,
            external_id(iri) if iri else self._claim_id(claim["text"]),
            own[1] if own else None,
            claim,
            self._assessment(),
            claimants,
            list(self._articles()),
        )

    def _reviewed(self) -> Iterator[Node]:
        """Give what was reviewed: claims, or the works in which they are made."""
        for each in self._reader.nodes(self._node, "itemReviewed", MAX_ARTICLES):
            if isinstance(each, Node):
                yield each
            else:
                detail = "It must be an object, such as a `Claim` with its `author`."
                self._reader.refuse(each.path, "wrong-type", detail)

    def _claims(self) -> list[Node]:
        """Give the claim that was reviewed, if there is one; the same twice is one."""
        claims = [each for each in self._items if _is_claim(each)]
        if any(each.properties != claims[0].properties for each in claims[1:]):
            detail = (
                f"It must be one claim, not {len(claims)}. Send a review for each of them; "
                "give a work in which the claim is made its `@type`, such as `Article`."
            )
            self._reader.refuse(self._node.place("itemReviewed"), "invalid-value", detail)
        return claims

    def _address(self) -> str | None:
        """Give the address of the review, by which its rating is known when it comes again."""
        if url := self._reader.url(self._node, "url") or self._reader.iri_as_url(self._node):
            return url
        places = place, _ = self._node.place("url"), self._node.place("@id")
        if not any(map(self._reader.has_refused, places)):
            detail = "A review needs its address: by that it is known when it comes again."
            self._reader.refuse(place, "required", detail)
        return None

    def _claim_id(self, text: str) -> str:
        """Name a claim that has no id: a page has several reviews, which differ by their words."""
        return external_id(f"{self._url}#{_digest(text)}")

    def _claim(self, claims: list[Node]) -> Json:
        """Give what is known of the claim, beside its sources and articles."""
        text = self._reader.text(self._node, "claimReviewed", _MAX_TEXT)
        for claim in claims:
            text = text or self._reader.text(claim, "text", _MAX_TEXT)
            text = text or self._reader.text(claim, "name", _MAX_TEXT)
        place = self._node.place("claimReviewed")
        if text is None and not self._reader.has_refused(place):
            detail = "Say what is claimed, here or in `text` of a `Claim` in `itemReviewed`."
            self._reader.refuse(place, "required", detail)
        said = [claim for claim in claims if self._reader.values(claim, "datePublished")]
        stated = self._time(said[0], "datePublished") if said else None
        if stated is None and claims:
            stated = self._time(claims[0], "dateCreated")
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

    def _time(self, node: Node, name: str) -> Json | None:
        text = self._reader.line(node, name, MAX_EXPRESSION)
        return as_time(text) if text is not None else None

    # --- the rating --------------------------------------------------------------------------

    def _assessment(self) -> Json:
        """Give the rating, in the words and numbers of its scale."""
        assessor = self._names(self._node, "author") or self._names(self._node, "publisher")
        place = self._node.place("author")
        if assessor is None and not self._reader.has_refused(place):
            detail = "Say who has made the review, in `author` or `publisher`, with its `name`."
            self._reader.refuse(place, "required", detail)
        rating = self._rating()
        explanation = rating and self._reader.text(rating, "ratingExplanation", _MAX_TEXT)
        label = (rating and self._label(rating)) or ""
        scheme = rating and self._reader.line(rating, "name", _MAX_LINE)
        return {
            "assessor": assessor or "",
            "scheme": scheme if scheme and scheme != label else assessor or "",
            "label": label,
            **{
                name: rating and self._number(rating, term, label)
                for name, term in (
                    ("value", "ratingValue"),
                    ("best", "bestRating"),
                    ("worst", "worstRating"),
                )
            },
            "url": self._url,
            "published_at": self._published(),
            "explanation": explanation or self._reader.text(self._node, "reviewBody", _MAX_TEXT),
        }

    def _rating(self) -> Node | None:
        """Give the rating; a text in its place is its label."""
        found = self._reader.nodes(self._node, "reviewRating", 2)
        place = self._node.place("reviewRating")
        if len(found) > 1:
            detail = "It must be one rating. Send the others as reviews of their own."
            self._reader.refuse(place, "invalid-value", detail)
        if not found:
            if not self._reader.has_refused(place):
                detail = "A review needs its rating: a label as `alternateName`, or `ratingValue`."
                self._reader.refuse(place, "required", detail)
            return None
        first = found[0]
        return first if isinstance(first, Node) else Node({"alternateName": first.value}, place)

    def _label(self, rating: Node) -> str | None:
        """Give the words of a rating, else its number as it is printed."""
        for name in ("alternateName", "name"):
            if label := self._reader.line(rating, name, _MAX_LINE):
                return label
        for path, value in self._reader.values(rating, "ratingValue"):
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                if len(label := " ".join(str(value).split())) <= _MAX_LINE:
                    return label
                self._reader.refuse(path, "invalid-value", f"At most {_MAX_LINE} characters.")
        if not self._reader.has_refused(rating.path):
            detail = "A rating needs its label as `alternateName`, or its number as `ratingValue`."
            self._reader.refuse(rating.place("alternateName"), "required", detail)
        return None

    def _number(self, rating: Node, name: str, label: str) -> int | float | None:
        """Read a number of a scale; the words of the label are no number, and are no fault.

        Digits with a comma are no words: which number they are could only be guessed.
        """
        values = self._reader.values(rating, name)
        if len(values) > 1:
            self._reader.refuse(rating.place(name), "invalid-value", "It must be one number.")
        for path, value in values:
            number = as_number(value)
            if number is None and not self._is_label(value, label):
                detail = "It must be a number of at most 15 digits, such as `3` or `3.5`."
                self._reader.refuse(path, "invalid-value", detail)
            return number
        return None

    @staticmethod
    def _is_label(value: object, label: str) -> bool:
        if not isinstance(value, str) or _DIGITS.match(value.strip()):
            return False
        return " ".join(value.split()).casefold() == label.casefold()

    def _published(self) -> str | None:
        text = self._reader.line(self._node, "datePublished", MAX_EXPRESSION)
        bound = as_bound(text) if text is not None else None
        if text is not None and bound is None:
            detail = (
                "It must be a date, such as `2024-12-19`, or an instant, such as "
                "`2024-12-19T10:00:00Z`. Leave it out if it is not known."
            )
            self._reader.refuse(self._node.place("datePublished"), "invalid-value", detail)
        return bound

    # --- sources and articles ----------------------------------------------------------------

    def _names(self, node: Node, name: str) -> str | None:
        """Join the names of persons or bodies."""
        names = []
        for each in self._reader.nodes(node, name, MAX_NAMES):
            named = each if isinstance(each, Node) else Node({"name": each.value}, each.path)
            if text := self._reader.line(named, "name", _MAX_LINE):
                names.append(text)
        joined = ", ".join(dict.fromkeys(names))
        if len(joined) > _MAX_LINE:
            detail = f"The names have at most {_MAX_LINE} characters together."
            self._reader.refuse(node.place(name), "invalid-value", detail)
        return joined or None

    def _claimants(self) -> Iterator[Source]:
        """Give the sources of the claim; a work that is no claim has authors of its own."""
        known = set()
        authors = [
            each for item in self._items for each in self._reader.nodes(item, "author", MAX_NAMES)
        ]
        if len(authors) > MAX_CLAIMANTS:
            detail = f"At most {MAX_CLAIMANTS} authors together. Leave some out."
            self._reader.refuse(self._node.place("itemReviewed"), "invalid-value", detail)
        for each in authors[:MAX_CLAIMANTS]:
            source = self._source(each, SourceKind.UNKNOWN)
            if source is not None and source.external_id not in known:
                known.add(source.external_id)
                yield source

    def _source(self, given: Node | Value, kind: SourceKind) -> Source | None:
        """Give a source with a name; one without is unknown."""
        node = given if isinstance(given, Node) else Node({"name": given.value}, given.path)
        name = self._reader.line(node, "name", _MAX_LINE)
        if name is None:
            return None
        kinds = [_KINDS[each] for each in sorted(node.types) if each in _KINDS]
        titles = self._reader.values(node, "jobTitle")
        title = self._reader.line(node, "jobTitle", _MAX_LINE) if len(titles) == 1 else None
        record = {
            "kind": kinds[0] if kinds else kind,
            "name": name,
            "roles": [{"title": title}] if title else [],
        }
        # Without an id of its own, a source is the same where the same publisher names it the same.
        own = f"{urlsplit(self._url).hostname or ''}#{name.casefold()}"
        return Source(external_id(node.iri or own), record, node.path)

    def _articles(self) -> Iterator[Article]:
        """Give the articles in which the claim appears, and the works that were reviewed."""
        known = set()
        works = list(islice(self._works(), MAX_ARTICLES + 1))
        if len(works) > MAX_ARTICLES:
            detail = f"At most {MAX_ARTICLES} articles together. Leave some out."
            self._reader.refuse(self._node.place("itemReviewed"), "invalid-value", detail)
        for work in works[:MAX_ARTICLES]:
            article = self._article(work)
            if article is not None and article.external_id not in known:
                known.add(article.external_id)
                yield article

    def _works(self) -> Iterator[Node | Value]:
        for item in self._items:
            if _is_claim(item):
                yield from self._reader.nodes(item, "appearance", MAX_ARTICLES)
                yield from self._reader.nodes(item, "firstAppearance", MAX_ARTICLES)
            else:
                yield item

    def _article(self, work: Node | Value) -> Article | None:
        """Give an article that has an address or a headline; of one without, nothing is known.

        One without an address is the same where the same page names it by the same headline.
        """
        if isinstance(work, Value):
            url = self._reader.as_url(work)
            return Article(external_id(url), {"url": url}, None, work.path) if url else None
        url = self._reader.url(work, "url") or self._reader.iri_as_url(work)
        headline = self._reader.line(work, "headline", _MAX_HEADLINE) or self._reader.line(
            work, "name", _MAX_HEADLINE
        )
        if url is None and headline is None:
            return None
        publishers = self._reader.nodes(work, "publisher", 1)
        record = {
            "url": url,
            "headline": headline,
            "published": self._time(work, "datePublished"),
            "kind": ArticleKind.POST if "SocialMediaPosting" in work.types else None,
            "authors": self._authors(work),
        }
        return Article(
            external_id(url or f"{self._url}#appearance-{_digest(headline or '')}"),
            {name: value for name, value in record.items() if value is not None},
            self._source(publishers[0], SourceKind.PUBLICATION) if publishers else None,
            work.path,
        )

    def _authors(self, work: Node) -> list[Json]:
        names = []
        for each in self._reader.nodes(work, "author", MAX_NAMES):
            named = each if isinstance(each, Node) else Node({"name": each.value}, each.path)
            if name := self._reader.line(named, "name", _MAX_LINE):
                names.append(name)
        return [{"name": name} for name in dict.fromkeys(names)]


def _is_claim(node: Node) -> bool:
    """Tell whether what was reviewed is a claim; one of no type is, or only names one."""
    return "Claim" in node.types or not node.types


def attributions(claimants: list[Source], ids: Mapping[str, str]) -> list[Json]:
    """Write who is credited with the claim; several speak jointly."""
    return [
        {
            "source_id": ids[source.external_id],
            "role": AttributionRole.CO_CLAIMANT if index else AttributionRole.CLAIMANT,
            "printed": source.record["name"],
        }
        for index, source in enumerate(claimants)
    ]


def _digest(text: str) -> str:
    """Name words, whatever their case and the spaces between them."""
    words = " ".join(text.casefold().split())
    return hashlib.sha256(words.encode()).hexdigest()[:_DIGEST]


def external_id(name: str) -> str:
    """Give the external id for a name, which may be longer than one can be."""
    if len(name) <= _MAX_EXTERNAL_ID:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[: _MAX_EXTERNAL_ID - len(digest) - 1]}~{digest}"
