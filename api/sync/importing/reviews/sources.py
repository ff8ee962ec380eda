"""From a review to the sources of its claim, and to the publishers of its articles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from api.sync.importing.reviews.nodes import Node, Reader, Value
from api.sync.importing.reviews.reading import MAX_LINE, MAX_NAMES, Json, as_named, external_id
from schemas.base import Path
from schemas.vocabularies import AttributionRole, SourceKind

MAX_CLAIMANTS: Final = 20
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


class Source(NamedTuple):
    """A source: its external id, what is known of it, and where that stands."""

    external_id: str
    record: Json
    path: Path


def read_claimants(
    reader: Reader, items: list[Node], reviewed: Path, review_url: str
) -> Iterator[Source]:
    """Give the sources of the claim; a work that is no claim has authors of its own.

    `reviewed` is the place of what the review reviews, `items`.
    """
    known = set()
    authors = [each for item in items for each in reader.nodes(item, "author", MAX_NAMES)]
    if len(authors) > MAX_CLAIMANTS:
        detail = f"At most {MAX_CLAIMANTS} authors together. Leave some out."
        reader.refuse(reviewed, "invalid-value", detail)
    for each in authors[:MAX_CLAIMANTS]:
        source = read_source(reader, each, SourceKind.UNKNOWN, review_url)
        if source is not None and source.external_id not in known:
            known.add(source.external_id)
            yield source


def read_source(
    reader: Reader, given: Node | Value, kind: SourceKind, review_url: str
) -> Source | None:
    """Give a source with a name; a source without a name stays unknown."""
    node = as_named(given)
    name = reader.line(node, "name", MAX_LINE)
    if name is None:
        return None
    kinds = [_KINDS[each] for each in sorted(node.types) if each in _KINDS]
    titles = reader.values(node, "jobTitle")
    title = reader.line(node, "jobTitle", MAX_LINE) if len(titles) == 1 else None
    record = {
        "kind": kinds[0] if kinds else kind,
        "name": name,
        "roles": [{"title": title}] if title else [],
    }
    # A source without an id is the same source if the same site uses the same name.
    own = f"{urlsplit(review_url).hostname or ''}#{name.casefold()}"
    return Source(external_id(node.iri or own), record, node.path)


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
