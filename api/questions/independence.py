"""Count the independent origins of claims, from what is known of their chains and sources.

It is a pure computation: :mod:`api.questions.origins` reads what it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Final, NamedTuple

from schemas.questions import DoubtfulOrigins, Origin, OriginCounts
from schemas.vocabularies import AttributionRole, Doubt, Resolution

MAX_STEPS: Final = 100_000
"""Memberships and parents are followed no further than this, for all origins together."""


class Hop(NamedTuple):
    """A hop at the highest position of a claim's chain."""

    claim_id: str
    source_id: str | None
    via_id: str | None
    role: str
    resolution: str


class Printing(NamedTuple):
    """An article that prints a claim."""

    claim_id: str
    article_id: str


class Known(NamedTuple):
    """What is known of the sources and the articles behind some claims."""

    survivors: Mapping[str, str]  # of each merged source, the one that it was merged into
    parents: Mapping[str, str]
    members: Mapping[str, Collection[str]]  # of each group, direct ones
    possibly_same: Sequence[tuple[str, str]]
    printed: Sequence[Printing]
    originals: Mapping[str, str]  # of each copied article, the one that it was copied from
    publishers: Mapping[str, str]  # of each article
    wires: Mapping[str, str]  # of each article, the agency whose text it prints


def count_origins(
    claims: Sequence[str], hops: Iterable[Hop], known: Known, *, rolled_up: bool, truncated: bool
) -> OriginCounts:
    """Group claims by their origins, and say which origins may not be independent."""
    found: dict[str, _Gathered] = {}
    voiced: set[str] = set()
    articles: dict[str, list[str]] = {}
    for printing in known.printed:
        articles.setdefault(printing.claim_id, []).append(printing.article_id)
    for hop in hops:
        if hop.role == AttributionRole.AUTHOR_VOICE:
            voiced.add(hop.claim_id)
        elif hop.source_id is not None and hop.resolution != Resolution.UNRESOLVED:
            printed = articles.get(hop.claim_id, [])
            source = _agency_behind(_survivor(hop.source_id, known), printed, known)
            if rolled_up:
                source = _top(source, known)
            found.setdefault(source, _Gathered({}, {}, {})).add(
                hop, (_original(article, known) for article in printed)
            )
    resolved = {claim for gathered in found.values() for claim in gathered.claims}
    doubts = _doubts(list(found), known)
    return OriginCounts(
        claims=list(claims),
        origins=sorted(
            (
                Origin(
                    source_id=source,
                    claim_ids=list(each.claims),
                    via_ids=list(each.vias),
                    via_articles=list(each.articles),
                )
                for source, each in found.items()
            ),
            key=lambda origin: -len(origin.claim_ids),
        ),
        count=len(found),
        at_least=_components(list(found), doubts),
        uncertain=doubts,
        unresolved=[each for each in claims if each not in resolved and each not in voiced],
        author_voice=[each for each in claims if each in voiced and each not in resolved],
        truncated=truncated,
    )


class _Gathered(NamedTuple):
    """What comes from one origin; dictionaries are sets that keep their order."""

    claims: dict[str, None]
    vias: dict[str, None]
    articles: dict[str, None]

    def add(self, hop: Hop, articles: Iterable[str]) -> None:
        self.claims[hop.claim_id] = None
        if hop.via_id is not None:
            self.vias[hop.via_id] = None
        self.articles.update(dict.fromkeys(articles))


def _survivor(source: str, known: Known) -> str:
    return known.survivors.get(source, source)


def _agency_behind(source: str, articles: Sequence[str], known: Known) -> str:
    """Give the agency in the place of a paper that only prints the agency's text.

    A paper that is itself the origin has it from the agency if every article of this paper that
    prints the claim is a copy, or credits the agency's wire.
    """
    own = [article for article in articles if known.publishers.get(article) == source]
    agencies = {_wire_of(article, known) for article in own}
    if len(agencies) != 1:
        return source
    return agencies.pop() or source


def _wire_of(article: str, known: Known) -> str | None:
    wire = known.wires.get(article)
    if wire is None and (original := _original(article, known)) != article:
        wire = known.wires.get(original) or known.publishers.get(original)
    return _survivor(wire, known) if wire else None


def _original(article: str, known: Known) -> str:
    """Follow an article to the one that it was copied from, as far as that is known."""
    return _last(article, known.originals)


def _top(source: str, known: Known) -> str:
    """Follow a source to the one at the top that it is part of."""
    return _last(source, known.parents)


def _last(start: str, steps: Mapping[str, str]) -> str:
    """Follow steps to their end; a circle ends where it closes."""
    seen = {start}
    while (following := steps.get(start)) is not None and following not in seen:
        seen.add(following)
        start = following
    return start


# --- doubts ------------------------------------------------------------------------------------


def _doubts(origins: Sequence[str], known: Known) -> list[DoubtfulOrigins]:
    """List the origins that may not be independent, in the order of the origins."""
    place = {source: number for number, source in enumerate(origins)}
    pairs: dict[tuple[Doubt, tuple[str, ...]], None] = {}

    def doubt(why: Doubt, sources: Iterable[str]) -> None:
        involved = tuple(sorted({s for s in sources if s in place}, key=place.__getitem__))
        if len(involved) > 1:
            pairs[why, involved] = None

    holders: dict[str, list[str]] = {}
    steps = ((o, m) for o in origins for m in _reach(o, known.members))
    for origin, member in islice(steps, MAX_STEPS):
        holders.setdefault(member, []).append(origin)
    for member, groups in holders.items():
        doubt(Doubt.SHARED_MEMBER, [*groups, member])
    for one, other in known.possibly_same:
        doubt(Doubt.POSSIBLY_SAME, (_survivor(one, known), _survivor(other, known)))
    parents = {child: (parent,) for child, parent in known.parents.items()}
    steps = ((o, above) for o in origins for above in _reach(o, parents))
    for origin, above in islice(steps, MAX_STEPS):
        doubt(Doubt.PARENT, (origin, above))
    return [DoubtfulOrigins(source_ids=list(sources), why=why) for why, sources in pairs]


def _reach(start: str, steps: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Give everything that steps lead to, without the start itself."""
    reached = {start}
    ahead = [start]
    while ahead:
        for following in steps.get(ahead.pop(), ()):
            if following not in reached:
                reached.add(following)
                ahead.append(following)
                yield following


def _components(origins: Sequence[str], doubts: Iterable[DoubtfulOrigins]) -> int:
    """Count the groups that remain if sources that may be the same are the same."""
    roots = {source: source for source in origins}

    def root(source: str) -> str:
        while roots[source] != source:
            roots[source] = roots[roots[source]]
            source = roots[source]
        return source

    for doubt in doubts:
        for one, other in pairwise(doubt.source_ids):
            roots[root(one)] = root(other)
    return len({root(source) for source in origins})
