"""Sources by name: which source a cell names, and which others it could mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Final, NamedTuple

from api.core.caller import Caller
from api.core.sql import compose, render
from api.exchange.names import Reader

MAX_CANDIDATES: Final = 5
"""How many sources are offered where a name is not that of exactly one."""
MAX_NAME: Final = 500
"""No name is longer."""

# Names are found by the index of folded ones; those that are exactly as asked come first.
_SOURCES: Final = """
    SELECT w.name AS asked, t.id::text AS id, t.name, t.is_exact
    FROM unnest(:names::text[]) AS w(name)
    CROSS JOIN LATERAL (
        SELECT t.id, t.name, coalesce(t.name = w.name, false) AS is_exact
        FROM sources AS t
        WHERE t.id IN (SELECT n.source_id FROM source_names AS n WHERE n.name = fold(w.name))
            AND t.deleted_at IS NULL AND :sees(source, t)
        ORDER BY is_exact DESC, t.id
        LIMIT {most}
    ) AS t"""


class Candidate(NamedTuple):
    """A source that has a name, or one that is spelt in another way."""

    id: str
    name: str | None
    is_exact: bool


class NamedSource(NamedTuple):
    """The sources that a name may mean; the exact ones come first."""

    name: str
    candidates: list[Candidate]

    @property
    def id(self) -> str | None:
        """The id of the one source of exactly this name; null if there is none, or several."""
        exact = [each.id for each in self.candidates if each.is_exact]
        return exact[0] if len(exact) == 1 else None

    def other_than(self, identity: str) -> str | None:
        """Give the id of another source that has exactly this name."""
        exact = (each.id for each in self.candidates if each.is_exact)
        return next((each for each in exact if each != identity), None)

    def why_not(self, id_column: str) -> str:
        """Say why the name does not tell which source it is, and what to write instead."""
        exact = [each for each in self.candidates if each.is_exact]
        told = f"{len(exact)} or more sources have" if exact else "No source has"
        others = exact or self.candidates
        listed = ", ".join(f"`{each.name}` is {each.id}" for each in others[:MAX_CANDIDATES])
        meant = f" Do you mean one of these? {listed}." if listed else ""
        way = f"Write its id into `{id_column}`" + ("." if others else ", or create it first.")
        return f"{told} exactly the name `{self.name[:100]}`.{meant} {way}"


async def find_sources(
    reader: Reader, asker: Caller, names: Collection[str]
) -> dict[str, NamedSource]:
    """Find the sources that the caller sees and that have these names."""
    found: dict[str, list[Candidate]] = defaultdict(list)
    if wanted := sorted(name for name in names if len(name) <= MAX_NAME):
        statement = compose(_SOURCES, most=f"{MAX_CANDIDATES + 1}")
        for row in await reader.fetch(*render(statement, asker, names=wanted)):
            found[row["asked"]].append(Candidate(row["id"], row["name"], row["is_exact"]))
    return {name: NamedSource(name, found[name]) for name in names}
