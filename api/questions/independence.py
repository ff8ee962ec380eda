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
MAX_LISTED: Final = 10_000
"""An answer lists no more doubts than this, and no more articles for all origins together."""


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
    articles = _Articles(known)
    top = _Ends(known.parents)
    counted_as: dict[str, str] = {}
    room = MAX_LISTED
    for hop in hops:
        if hop.role == AttributionRole.AUTHOR_VOICE:
            voiced.add(hop.claim_id)
        elif hop.source_id is not None and hop.resolution != Resolution.UNRESOLVED:
            source = articles.agency_behind(hop.source_id, hop.claim_id)
            origin = counted_as[source] = top.of(source) if rolled_up else source
            gathered = found.setdefault(origin, _Gathered({}, {}, {}))
            if hop.claim_id not in gathered.claims:
                printed = articles.originals_of(hop.claim_id)
                gathered.articles.update(dict.fromkeys(printed[:room]))
                truncated |= len(printed) > room
                room = max(0, room - len(printed))
            gathered.claims[hop.claim_id] = None
            if hop.via_id is not None:
                gathered.vias[hop.via_id] = None
    resolved = {claim for gathered in found.values() for claim in gathered.claims}
    doubts, cut = _doubts(list(found), counted_as, known)
    truncated |= cut
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


class _Ends:
    """Where steps from one thing to the next end; a circle ends where it closes."""

    def __init__(self, steps: Mapping[str, str]) -> None:
        self._steps = steps
        self._ends: dict[str, str] = {}

    def of(self, start: str) -> str:
        """Follow the steps to their end, each step once however often it is asked for."""
        path = {start: None}
        here = start
        while here not in self._ends and (following := self._steps.get(here)) is not None:
            if following in path:
                break
            path[following] = None
            here = following
        end = self._ends.get(here, here)
        self._ends.update(dict.fromkeys(path, end))
        return end


class _Articles:
    """The articles that print each claim, and from where they have it."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._original = _Ends(known.originals)
        self._originals: dict[str, dict[str, None]] = {}
        self._of_publisher: dict[tuple[str, str | None], list[str]] = {}
        for claim, article in known.printed:
            self._originals.setdefault(claim, {})[self._original.of(article)] = None
            publisher = known.publishers.get(article)
            self._of_publisher.setdefault((claim, publisher), []).append(article)

    def originals_of(self, claim: str) -> list[str]:
        """List the articles that print a claim, each copy as the one that it was copied from."""
        return list(self._originals.get(claim, ()))

    def agency_behind(self, source: str, claim: str) -> str:
        """Give the agency in the place of a paper that only prints the agency's text.

        A paper that is itself the origin has it from the agency if every article of this paper that
        prints the claim is a copy, or credits the agency's wire.
        """
        own = self._of_publisher.get((claim, source), ())
        agencies = {self._wire_of(article) for article in own}
        if len(agencies) != 1:
            return source
        return agencies.pop() or source

    def _wire_of(self, article: str) -> str | None:
        known = self._known
        wire = known.wires.get(article)
        if wire is None and (original := self._original.of(article)) != article:
            wire = known.wires.get(original) or known.publishers.get(original)
        return wire


# --- doubts ------------------------------------------------------------------------------------


def _doubts(
    origins: Sequence[str], counted_as: Mapping[str, str], known: Known
) -> tuple[list[DoubtfulOrigins], bool]:
    """Give the origins that may not be independent, and whether there may be more of them.

    Each source that was `counted_as` an origin makes this origin doubtful, like the origin itself.
    """
    place = {source: number for number, source in enumerate(origins)}
    counted_as = {**counted_as, **{source: source for source in origins}}
    pairs: dict[tuple[Doubt, tuple[str, ...]], None] = {}

    def doubt(why: Doubt, sources: Iterable[str]) -> None:
        counted = {counted_as[source] for source in sources if source in counted_as}
        if len(counted) > 1:
            pairs[why, tuple(sorted(counted, key=place.__getitem__))] = None

    holders: dict[str, list[str]] = {}
    steps = ((c, m) for c in counted_as for m in _reach(c, known.members))
    for counted, member in islice(steps, MAX_STEPS):
        holders.setdefault(member, []).append(counted)
    for member, groups in holders.items():
        doubt(Doubt.SHARED_MEMBER, [*groups, member])
    for one, other in known.possibly_same:
        doubt(Doubt.POSSIBLY_SAME, (one, other))
    parents = {child: (parent,) for child, parent in known.parents.items()}
    further = ((o, above) for o in origins for above in _reach(o, parents))
    for origin, above in islice(further, MAX_STEPS):
        doubt(Doubt.PARENT, (origin, above))
    cut = any(next(each, None) is not None for each in (steps, further))
    doubts = [DoubtfulOrigins(source_ids=list(sources), why=why) for why, sources in pairs]
    return doubts[:MAX_LISTED], cut or len(doubts) > MAX_LISTED


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
