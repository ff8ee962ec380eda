"""From a review to the articles in which its claim appears."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from api.sync.importing.reviews.nodes import Node, Reader, Value
from api.sync.importing.reviews.reading import (
    Json,
    digest,
    external_id,
    read_names,
    read_time,
)
from api.sync.importing.reviews.sources import Source, read_source
from schemas.base import Path
from schemas.vocabularies import ArticleKind, SourceKind

MAX_ARTICLES: Final = 20
_MAX_HEADLINE: Final = 2_000


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


def is_claim(node: Node) -> bool:
    """Tell whether a reviewed thing is a claim; a thing without a type counts as one."""
    return "Claim" in node.types or not node.types


def read_articles(
    reader: Reader, items: list[Node], reviewed: Path, review_url: str
) -> Iterator[Article]:
    """Give the articles in which the claim appears, and the works that were reviewed.

    `reviewed` is the place of what the review reviews, `items`.
    """
    known = set()
    works = list(islice(_works(reader, items), MAX_ARTICLES + 1))
    if len(works) > MAX_ARTICLES:
        detail = f"At most {MAX_ARTICLES} articles together. Leave some out."
        reader.refuse(reviewed, "invalid-value", detail)
    for work in works[:MAX_ARTICLES]:
        article = _article(reader, work, review_url)
        if article is not None and article.external_id not in known:
            known.add(article.external_id)
            yield article


def _works(reader: Reader, items: list[Node]) -> Iterator[Node | Value]:
    for item in items:
        if is_claim(item):
            yield from reader.nodes(item, "appearance", MAX_ARTICLES)
            yield from reader.nodes(item, "firstAppearance", MAX_ARTICLES)
        else:
            yield item


def _article(reader: Reader, work: Node | Value, review_url: str) -> Article | None:
    """Give an article that has an address or a headline; of any other, nothing is known.

    Works without an address are the same article if one page names them by the same headline.
    """
    if isinstance(work, Value):
        url = reader.as_url(work)
        return Article(external_id(url), {"url": url}, None, work.path) if url else None
    url = reader.url(work, "url") or reader.iri_as_url(work)
    headline = reader.line(work, "headline", _MAX_HEADLINE) or reader.line(
        work, "name", _MAX_HEADLINE
    )
    if url is None and headline is None:
        return None
    publishers = reader.nodes(work, "publisher", 1)
    record = {
        "url": url,
        "headline": headline,
        "published": read_time(reader, work, "datePublished"),
        "kind": ArticleKind.POST if "SocialMediaPosting" in work.types else None,
        "authors": [{"name": name} for name in dict.fromkeys(read_names(reader, work, "author"))],
    }
    return Article(
        external_id(url or f"{review_url}#appearance-{digest(headline or '')}"),
        {name: value for name, value in record.items() if value is not None},
        read_source(reader, publishers[0], SourceKind.PUBLICATION, review_url)
        if publishers
        else None,
        work.path,
    )
