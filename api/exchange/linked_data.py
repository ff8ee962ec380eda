"""Linked data: records in the terms of schema.org, as JSON-LD 1.1.

A claim is a `Claim`, an article a `NewsArticle` or a `SocialMediaPosting`, and a denial a `Claim`
that comments on what it answers. A `ClaimReview` is only where somebody has assessed the claim: it
is never made of a denial. The context stands in the answer, so nothing is fetched to read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from api.core.large_input import work_on
from api.core.request import Request, caller, context, encoded
from api.exchange.names import Names, hops_at_end, read_names
from schemas.vocabularies import ArticleKind, ArticleRelationKind, RecordType

Json = dict[str, Any]

_LINKS: Final = ("url", "archivedAt", "isBasedOn")
CONTEXT: Final[Json] = {
    "@version": 1.1,
    "@vocab": "https://schema.org/",
    **{name: {"@type": "@id"} for name in _LINKS},
}
"""Every term is one of schema.org; the values of some are addresses."""
_COPIES: Final = {
    ArticleRelationKind.SYNDICATED_COPY_OF,
    ArticleRelationKind.REWRITE_OF,
    ArticleRelationKind.TRANSLATION_OF,
    ArticleRelationKind.REPOSTS,
}
"""The relations of an article to what it is made of."""


async def write_record(request: Request, document: bytes) -> bytes:
    """Write a record, with the names of the sources and articles that it names."""
    record = await work_on(len(document), _decoded, document)
    database, asker = context(request).database, caller(request)
    wanted: dict[RecordType, list[str]] = {}
    for record_type, identity in _named_in(record):
        wanted.setdefault(record_type, []).append(identity)
    names = await read_names(database, asker, wanted)
    return await work_on(len(document), written, record, names)


def _decoded(document: bytes) -> Json:
    record: Json = msgspec.json.decode(document)
    return record


def written(record: Json, names: Names) -> bytes:
    """Write a record in the terms of schema.org, without what is unknown."""
    if "attributions" not in record:
        told = _article(record, names)
    elif "targets" in record:
        told = _denial(record, names)
    else:
        told = _claim(record, names)
    return encoded({"@context": CONTEXT, **_known(told)})


def _named_in(record: Json) -> Iterator[tuple[RecordType, str]]:
    """Yield the type and the id of each record whose name is told."""
    for hop in record.get("attributions", ()):
        if hop["source_id"] is not None:
            yield RecordType.SOURCE, hop["source_id"]
    for appearance in record.get("appearances", ()):
        yield RecordType.ARTICLE, appearance["article_id"]
    for party in record.get("parties", ()):
        yield RecordType.SOURCE, party["source_id"]
    if record.get("publisher_id") is not None:
        yield RecordType.SOURCE, record["publisher_id"]


def _known(told: Mapping[str, Any]) -> Json:
    """Leave out what is null or empty."""
    return {name: value for name, value in told.items() if value not in (None, [], "", {})}


def _node(identity: str) -> str:
    return f"urn:uuid:{identity}"


def _common(record: Json) -> Json:
    """Tell what every record has."""
    return {
        "@id": _node(record["id"]),
        "identifier": record["id"],
        "version": record["version"],
        "sdDatePublished": record["created_at"],
        "dateModified": record["updated_at"],
        "inLanguage": None if record["language"] == "und" else record["language"],
        "keywords": record["tags"],
    }


def _claim(record: Json, names: Names) -> Json:
    return {
        "@type": "Claim",
        **_common(record),
        **_statement(record, names),
        "about": [_source(each["source_id"], names) for each in record["parties"]],
        "contentLocation": [_place(each) for each in record["places"]],
        "temporalCoverage": _interval(record["occurred"]),
        "review": [_review(record, each) for each in record["assessments"]],
    }


def _denial(record: Json, names: Names) -> Json:
    targets = record["targets"]
    ids = ("claim_id", "denial_id", "article_id")
    answered = [_node(each[name]) for each in targets for name in ids if each[name] is not None]
    return {
        "@type": ["Claim", "Comment"],
        **_common(record),
        **_statement(record, names),
        "genre": record["kind"],
        "parentItem": [
            *({"@id": node} for node in answered),
            *({"@type": "Claim", "text": each["text"]} for each in targets if each["text"]),
        ],
    }


def _statement(record: Json, names: Names) -> Json:
    """Tell who said it, when, and where it is printed."""
    return {
        "text": record["text"],
        "author": list(_speakers(record["attributions"], names)),
        "dateCreated": _moment(record["stated"]),
        "creativeWorkStatus": record["validity"],
        "appearance": [
            _known(
                {
                    "@type": "CreativeWork",
                    "@id": _node(each["article_id"]),
                    "headline": names.get(each["article_id"]),
                }
            )
            for each in record["appearances"]
        ],
    }


def _speakers(hops: Sequence[Json], names: Names) -> Iterator[Json]:
    """Name who is nearest to the reader: they made the statement, as far as the article says."""
    for hop in hops_at_end(hops):
        if hop["source_id"] is not None:
            yield _source(hop["source_id"], names, hop["printed"])
        elif hop["printed"]:
            yield {"@type": "Thing", "name": hop["printed"]}


def _source(identity: str, names: Names, printed: str | None = None) -> Json:
    name = names.get(identity, printed)
    return _known({"@type": "Thing", "@id": _node(identity), "name": name})


def _place(place: Json) -> Json:
    """Tell a place; its country is the address, and its coordinates are a point."""
    has_point = place["latitude"] is not None
    return _known(
        {
            "@type": "Place",
            "name": place["name"],
            "address": place["country_code"]
            and {"@type": "PostalAddress", "addressCountry": place["country_code"]},
            "geo": {
                "@type": "GeoCoordinates",
                "latitude": place["latitude"],
                "longitude": place["longitude"],
            }
            if has_point
            else None,
        }
    )


def _moment(time: Json | None) -> str | None:
    """Give a date or an instant, if only one is possible."""
    if time is None or time["earliest"] != time["latest"]:
        return None
    known: str | None = time["earliest"]
    return known


def _interval(time: Json | None) -> str | None:
    """Write when it happened as an interval (ISO 8601); an unknown end is open."""
    if time is None or not (time["earliest"] or time["latest"]):
        return None
    return f"{time['earliest'] or '..'}/{time['latest'] or '..'}"


def _review(record: Json, assessment: Json) -> Json:
    """Tell what somebody has found, by their own scale."""
    rating = {
        "@type": "Rating",
        "alternateName": assessment["label"],
        "ratingValue": assessment["value"],
        "bestRating": assessment["best"],
        "worstRating": assessment["worst"],
        "name": assessment["scheme"],
    }
    return _known(
        {
            "@type": "ClaimReview",
            "author": {"@type": "Thing", "name": assessment["assessor"]},
            "claimReviewed": record["text"],
            "itemReviewed": {"@id": _node(record["id"])},
            "reviewRating": _known(rating),
            "url": assessment["url"],
            "datePublished": assessment["published_at"],
            "reviewBody": assessment["explanation"],
        }
    )


def _article(record: Json, names: Names) -> Json:
    publisher = record["publisher_id"]
    return {
        "@type": "SocialMediaPosting" if record["kind"] == ArticleKind.POST else "NewsArticle",
        **_common(record),
        "headline": record["headline"],
        "url": record["url"],
        "archivedAt": record["archived_url"],
        "author": [{"@type": "Thing", "name": each["name"]} for each in record["authors"]],
        "publisher": publisher and _source(publisher, names),
        "datePublished": _moment(record["published"]),
        "dateline": record["dateline"],
        "articleSection": record["section"],
        "articleBody": record["text"],
        "isBasedOn": [
            _node(each["article_id"]) for each in record["relations"] if each["kind"] in _COPIES
        ],
    }
