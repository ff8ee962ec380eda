"""Pairs of sources that may be the same: which are found, and when one leaves the list."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest

from api.access import keyring
from api.core import large_input
from api.core.db import Connection, Database
from api.matching import counting, duplicates, names, pairing, pairs, vocabulary
from api.merging import repointing
from schemas.duplicates import MIN_SCORE
from schemas.vocabularies import Scope
from tests.conftest import (
    KEY,
    PATIENCE,
    allow,
    as_service,
    bearer,
    cloned,
    patient,
    serving,
)
from tests.test_plans import watching
from tests.world import World

Record = dict[str, Any]
pytestmark = pytest.mark.usefixtures("unhurried_matching")
READER: Final = keyring.written("pairsreaders", "0" * 30)
ALIKE: Final = {
    "Oleksandr Syrskyi": "Aleksandr Syrsky",
    "Kim Yo-jong": "Kim Yojong",
    "Ursula von der Leyen": "Ursula van der Layen",
    "National Intelligence Service": "nationl inteligence servce",
    "Foreign ministry of South Korea": "south korean foreign ministry",
    "Володимир Зеленський": "Volodymyr Zelensky",
    "Médecins Sans Frontières": "medecin sans frontiere",
    "Joint Chiefs of Staff of South Korea": "joint chief of staff, korea south",
    "Muammar Qadhafi": "Moammar Khadafy",
}
"""Names of which each pair is one source."""
OTHERS: Final = (
    "Foreign ministry of North Korea",
    "Defence ministry of South Korea",
    "Defence ministry of Russia",
    "Kim Jong-un",
    "Lee Seong-hun",
    "Seong Min-jae",
    "South Korea",
    "Ministry of Health of Sudan",
    "National Police Agency",
)
"""Names that are like those, and of others."""


class Searched:
    """A service with sources, and what searches for pairs."""

    def __init__(self, client: httpx.AsyncClient, url: str, database: Database) -> None:
        """Keep what the tests need."""
        self.client, self.url, self.database = client, url, database
        self.world = World(client)

    async def count(self) -> None:
        """Count the words of all that was written."""
        answer = await self.client.get("/v1/changes", params={"since": "now"})  # gives numbers
        assert answer.status_code == 200, answer.text
        await vocabulary.Vocabulary(self.database).count(at_once=True)

    async def search(self) -> None:
        """Search until all that was written is compared."""
        await self.count()
        async with asyncio.timeout(PATIENCE):
            while await pairing.step(self.database):
                pass

    async def pairs(self, key: str = KEY, **query: Any) -> list[Record]:
        """List pairs."""
        answer = await self.client.get("/v1/sources/duplicates", params=query, headers=bearer(key))
        assert answer.status_code == 200, answer.text
        items: list[Record] = answer.json()["items"]
        return items

    async def named(self, key: str = KEY, **query: Any) -> set[frozenset[str]]:
        """Give the pairs by the names that the sources have here."""
        return {
            frozenset(
                self.world.named(each[side]) or each[side] for side in ("source_id", "other_id")
            )
            for each in await self.pairs(key, limit=200, **query)
        }

    async def add(self, **names: str | Mapping[str, Any]) -> None:
        """Add persons by their names."""
        for name, given in names.items():
            fields = {"name": given} if isinstance(given, str) else given
            await self.world.add("sources", name, **{"kind": "person", **fields})

    async def relate(self, name: str, to: str, kind: str, state: str = "confirmed") -> None:
        """Let a source state a relation."""
        relation = {"source_id": self.world.id(to), "kind": kind, "state": state}
        await self.world.patch(name, relations=[relation])


@pytest.fixture(scope="module")
async def known(template: str) -> AsyncIterator[Searched]:
    """Serve sources of which some are alike, where these tests alone count and search."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pairing, "EVERY_SECONDS", 10 * PATIENCE)
        async with cloned(template) as url, serving(url) as client:
            database = Database(as_service(url), patient(pool_size=2))
            await database.open()
            try:
                searched = Searched(client, url, database)
                await allow(url, READER, [Scope.READ])
                for one, other in ALIKE.items():
                    await searched.add(**{one: one, other: other})
                await searched.add(**{each: each for each in OTHERS})
                await searched.search()
                yield searched
            finally:
                await database.close()


async def test_names_that_are_alike_make_pairs_and_others_none(known: Searched) -> None:
    found = {each for each in await known.named() if each <= {*ALIKE, *ALIKE.values(), *OTHERS}}
    assert found == {frozenset(each) for each in ALIKE.items()}


# --- what a pair tells -----------------------------------------------------------------------


async def test_a_pair_tells_its_score_and_why(known: Searched) -> None:
    await known.add(a="Bartholomew Quigley", b="Quigly, Bartolomew")
    await known.search()
    (pair,) = await known.pairs(source_id=known.world.id("b"))
    assert known.world.named(pair) == {
        "source_id": "a",
        "other_id": "b",
        "score": pair["score"],
        "why": {
            "source_name": "bartholomew quigley",
            "other_name": "quigly, bartolomew",
            "words": [
                {"word": "bartholomew", "other": "bartolomew", "alike": 0.909},
                {"word": "quigley", "other": "quigly", "alike": 0.92},
            ],
        },
    }
    assert MIN_SCORE < pair["score"] < 1


async def test_any_names_of_two_sources_make_a_pair(known: Searched) -> None:
    others = [{"name": "Philomena Ruthven", "kind": "former"}]
    await known.add(
        a={"name": "Ministry of Fog", "names": others}, b="Filomena Ruthven", c="Ministry of Frogs"
    )
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ab")}


async def test_expand_brings_both_sources(known: Searched) -> None:
    await known.add(a="Hildegard Oxenham", b="Hildegard Oxenhamm")
    await known.search()
    query = {"source_id": known.world.id("a"), "expand": "sources"}
    answer = await known.client.get("/v1/sources/duplicates", params=query)
    included = answer.json()["included"]["sources"]
    assert included == {known.world.id(each): await known.world.get(each) for each in "ab"}


async def test_pages_have_each_pair_once_the_best_first(known: Searched) -> None:
    every = await known.pairs(limit=200)
    assert len(every) >= len(ALIKE)
    assert [each["score"] for each in every] == sorted(
        (each["score"] for each in every), reverse=True
    )
    walked: list[Record] = []
    path = "/v1/sources/duplicates?limit=2&score__gte=0.8"
    while path:
        answer = await known.client.get(path)
        walked += answer.json()["items"]
        link = answer.headers.get("link", "")
        path = link.partition("<")[2].partition(">")[0]
        assert bool(path) == bool(answer.json()["next_cursor"])
    assert walked == every


async def test_filters_choose_the_pairs(known: Searched) -> None:
    await known.add(
        a={"name": "Aberystwyth Gazette", "kind": "publication"}, b="Aberystwith Gazette"
    )
    await known.search()
    of_both = {"source_id": known.world.id("a")}
    assert await known.named(**of_both, kind="publication") == {frozenset("ab")}
    assert await known.named(**of_both, kind="state") == set()
    assert frozenset("ab") in await known.named(kind="publication")
    ((score,),) = [[each["score"]] for each in await known.pairs(**of_both)]
    assert await known.named(**of_both, score__gte=score) == {frozenset("ab")}
    assert await known.named(**of_both, score__gte=1) == set()


async def test_a_page_ends_when_it_has_looked_at_enough_pairs(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which others may be decided, hidden, or of another kind; the next page goes on there."""
    await known.add(
        x={"name": "Llandudno Advertiser", "kind": "publication"}, y="Llandudno Advertisser"
    )
    await known.search()
    queries: list[dict[str, str]] = [{}, {"kind": "publication"}, {"kind": "state"}]
    for query in queries:
        expected = await known.pairs(limit=200, **query)
        for most, limit in ((1, 200), (3, 2), (5, 1)):
            monkeypatch.setattr(duplicates, "MAX_LOOKED_AT", most)
            duplicates._statement.cache_clear()  # noqa: SLF001
            pages: list[list[Record]] = []
            at: dict[str, str] = {}
            while not pages or at:
                asked = {"limit": str(limit), **query, **at}
                answer = await known.client.get("/v1/sources/duplicates", params=asked)
                pages.append(answer.json()["items"])
                at = {"cursor": found} if (found := answer.json()["next_cursor"]) else {}
            assert [each for page in pages for each in page] == expected
            assert all(len(page) <= limit for page in pages)
            assert len(pages) > len(ALIKE) / most - 1
        monkeypatch.undo()
        duplicates._statement.cache_clear()  # noqa: SLF001


_MANY_SOURCES: Final = """
    INSERT INTO sources (id, kind, identification, name)
    SELECT gen_random_uuid(), 'person', 'named', 'Name ' || n FROM generate_series(1, 1000) AS n"""
_MANY_PAIRS: Final = """
    INSERT INTO duplicate_pairs
        (source_id, other_id, score, classes, source_name, other_name, words)
    SELECT a.id, b.id, random(), 1, a.name, b.name, '[]'
    FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM sources) AS a
    JOIN (SELECT *, row_number() OVER (ORDER BY id) AS n FROM sources) AS b
        ON b.n BETWEEN a.n + 1 AND a.n + 3"""


async def test_a_page_of_a_rare_kind_reads_a_bounded_number_of_pairs(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "EVERY_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr(duplicates, "MAX_LOOKED_AT", 50)
    duplicates._statement.cache_clear()  # noqa: SLF001

    async def fill(connection: Connection) -> None:
        for statement in (_MANY_SOURCES, _MANY_PAIRS):
            await connection.execute(statement)

    async with watching(template, fill) as watched:
        for query in ("kind=publication", "kind=publication&score__gte=0.1", "limit=200"):
            assert 50 < await watched.rows_read(f"/v1/sources/duplicates?{query}") < 2_000
    duplicates._statement.cache_clear()  # noqa: SLF001


@pytest.mark.parametrize(
    "query", ["kind=dog", "score__gte=a", "limit=0", "name=a", "expand=claims", "cursor=a"]
)
async def test_bad_queries_are_refused(known: Searched, query: str) -> None:
    answer = await known.client.get(f"/v1/sources/duplicates?{query}")
    assert answer.status_code == 400, answer.text


# --- decisions -------------------------------------------------------------------------------

DECISIONS: Final = [
    ("distinct_from", "confirmed"),
    ("possibly_same_as", "confirmed"),
    ("possibly_same_as", "rejected"),
    ("successor_of", "confirmed"),
]


@pytest.mark.parametrize(("kind", "state"), DECISIONS)
@pytest.mark.parametrize("sides", ["ab", "ba"])
async def test_a_decision_takes_a_pair_off_the_list_at_once_until_it_is_taken_back(
    known: Searched, kind: str, state: str, sides: str
) -> None:
    await known.add(a="Cornelius Vanstone", b="Kornelius Vanstone")
    of_a = {"source_id": known.world.id("a")}

    async def found() -> bool:
        return frozenset("ab") in await known.named(**of_a)

    await known.search()
    assert await found()
    await known.relate(sides[0], sides[1], kind, state)
    assert not await found()
    await known.search()
    assert not await found()
    await known.world.patch(sides[0], relations=[])
    await known.search()
    assert await found()
    for name in "ab":
        assert (await known.world.delete(name)).status_code == 204


@pytest.mark.parametrize(
    ("kind", "state"), [("possibly_same_as", "suggested"), ("distinct_from", "rejected")]
)
async def test_what_decides_nothing_leaves_a_pair_on_the_list(
    known: Searched, kind: str, state: str
) -> None:
    await known.add(a=f"Leopold Wexcombe {state}", b=f"Leopold Wexcomb {state}")
    await known.search()
    await known.relate("a", "b", kind, state)
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ab")}


async def test_a_part_of_a_source_is_not_the_source(known: Searched) -> None:
    await known.add(a="Tintagel Observatory")
    await known.add(b={"name": "Tintagel Observatory", "parent_id": "@a"})
    await known.add(c={"name": "Observatory Tintagel", "members": [{"source_id": "@a"}]})
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == set()
    assert await known.named(source_id=known.world.id("b")) == {frozenset("bc")}


async def test_a_merge_decides_and_its_survivor_is_compared_anew(known: Searched) -> None:
    await known.add(
        a="Zebulon Thackeray", b="Zebulon Thackery", c="Zebullon Thackerey", d="Tobias Ackroyd"
    )
    await known.search()
    every = {frozenset(each) for each in ("ab", "ac", "bc")}
    assert (
        await known.named(source_id=known.world.id("a"))
        | await known.named(source_id=known.world.id("b"))
        == every
    )
    await _merge(known, "b", into="a")
    assert await known.named(source_id=known.world.id("a")) <= {frozenset("ac")}
    await known.search()
    for name in "ab":  # the id of the merged one means its survivor
        assert await known.named(source_id=known.world.id(name)) == {frozenset("ac")}


async def test_what_a_merged_source_stated_decides_for_its_survivor(known: Searched) -> None:
    await known.add(a="Gwendolyn Ashcombe", b="Gwendolin Ashcombe", c="Gwendolyn Ashcomb")
    await known.relate("b", "c", "distinct_from")
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ab"), frozenset("ac")}
    await _merge(known, "b", into="a")
    assert await known.named(source_id=known.world.id("a")) == set()
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == set()


@pytest.mark.parametrize(
    "part", [{"parent_id": "@m"}, {"members": [{"source_id": "@m"}]}], ids=["part", "member"]
)
async def test_a_part_of_a_merged_source_is_not_its_survivor(
    known: Searched, monkeypatch: pytest.MonkeyPatch, part: Record
) -> None:
    async def do_nothing(*_: object) -> tuple[None, bool]:
        return None, False

    # Nothing follows from the merge until this test ends.
    monkeypatch.setattr(repointing, "step", do_nothing)
    await known.add(a="Lindisfarne Priory", m="Humphrey Dalrymple")
    await known.add(b={"name": "Lindisfarne Priorry", **part})
    await known.search()
    assert frozenset("ab") in await known.named(source_id=known.world.id("a"))
    await _merge(known, "m", into="a")
    stays = await known.world.get("b")
    assert known.world.id("m") in str(stays)
    assert frozenset("ab") not in await known.named(source_id=known.world.id("a"))


async def test_what_a_source_stated_decides_through_a_chain_of_merges(known: Searched) -> None:
    await known.add(a="Rosalind Tuckwell", b="Agatha Moncrieffe", c="Rosalynd Tuckwell", d="D.")
    await known.relate("b", "c", "distinct_from")
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ac")}
    await _merge(known, "b", into="d")
    await _merge(known, "d", into="a")
    assert await known.named(source_id=known.world.id("c")) == set()
    await known.search()
    assert await known.named(source_id=known.world.id("c")) == set()


async def _merge(known: Searched, other: str, *, into: str) -> None:
    answer = await known.client.post(
        f"{known.world.at(into)}/merge",
        json={"source_id": known.world.id(other)},
        headers={"if-match": "*"},
    )
    assert answer.status_code == 200, answer.text


# --- changes ---------------------------------------------------------------------------------


async def test_a_pair_goes_with_the_name_and_comes_with_the_next(known: Searched) -> None:
    await known.add(a="Percival Lockhart", b="Percivall Lockhart", c="Isidore Fanshawe")
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ab")}
    await known.world.patch("a", name="Isidor Fanshaw")
    assert await known.named(source_id=known.world.id("a")) == set()
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ac")}


async def test_other_changes_leave_a_pair_on_the_list(known: Searched) -> None:
    await known.add(a="Ambrose Netherby", b="Ambrose Netherbey")
    await known.search()
    before = await known.pairs(source_id=known.world.id("a"))
    await known.world.patch("a", note="Met in 2024.")
    assert await known.pairs(source_id=known.world.id("a")) == before
    await known.search()
    assert await known.pairs(source_id=known.world.id("a")) == before


async def test_a_deleted_source_makes_no_pair_until_it_is_restored(known: Searched) -> None:
    await known.add(a="Drusilla Pemberley", b="Drusila Pemberley")
    await known.search()
    answer = await known.world.delete("a")
    assert await known.named(source_id=known.world.id("b")) == set()
    await known.search()
    assert not await known.database.fetch(
        "SELECT FROM duplicate_pairs WHERE source_name LIKE 'drus%'"
    )
    await known.client.post(
        f"{known.world.at('a')}/restore", headers={"if-match": answer.headers["etag"]}
    )
    await known.search()
    assert await known.named(source_id=known.world.id("b")) == {frozenset("ab")}


@pytest.mark.parametrize("identification", ["described", "anonymous"])
async def test_a_source_without_a_name_makes_no_pair_with_a_named_one(
    known: Searched, identification: str
) -> None:
    """Who it is, is a matter of identities. Its name can be all but told by a description."""
    await known.add(a="Eustace Birtwhistle", b="Eustace Birtwistle")
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ab")}
    names: Record = {"name": None, "names": []} if identification == "anonymous" else {}
    await known.world.patch(
        "b", identification=identification, description="An old friend", **names
    )
    assert await known.named(source_id=known.world.id("a")) == set()
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == set()
    for name in "ab":
        assert (await known.world.delete(name)).status_code == 204


# --- who sees a pair -------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["internal", "restricted"])
async def test_a_pair_is_seen_by_who_sees_both_sources(known: Searched, level: str) -> None:
    name = f"Balthazar {level.title()}"
    await known.add(a=name, b={"name": f"Baltazar {level.title()}", "confidentiality": level})
    await known.search()
    of_a = {"source_id": known.world.id("a")}
    assert await known.named(**of_a) == {frozenset("ab")}
    assert await known.named(READER, **of_a) == set()
    assert await known.named(READER, source_id=known.world.id("b")) == set()
    await known.world.patch("b", confidentiality="public")
    await known.search()
    assert await known.named(READER, **of_a) == {frozenset("ab")}
    await known.world.patch("b", confidentiality=level)
    assert await known.named(READER, **of_a) == set()


async def test_hidden_sources_take_no_place_and_move_no_score(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", 2)
    await known.add(a="Marmaduke Haversham", b="Marmaduke Havershamm")
    await known.search()
    before = await known.pairs(READER)
    assert await known.named(READER, source_id=known.world.id("a")) == {frozenset("ab")}
    hidden = {"name": "Marmaduke Haversham", "confidentiality": "restricted"}
    await known.add(**{f"h{number}": hidden for number in range(4)})
    await known.search()
    assert await known.pairs(READER) == before
    await known.world.patch("a", note="Compared anew.")
    await known.search()
    assert await known.pairs(READER) == before
    assert len(await known.pairs(source_id=known.world.id("a"))) == 5


# --- the search ------------------------------------------------------------------------------


async def test_a_step_that_fails_loses_nothing(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await known.search()
    await known.add(a="Ottoline Quince", b="Otoline Quinse")
    await known.count()
    fails = "SELECT 1 / (:seq::bigint - :seq::bigint)"
    with monkeypatch.context() as patched:
        patched.setattr(pairing, "_FOLLOW", fails)
        with pytest.raises(asyncpg.DataError):
            await pairing.step(known.database)
    assert await pairing.age(known.database) > 0
    await known.search()
    assert await known.named(source_id=known.world.id("a")) == {frozenset("ab")}


async def _fail_in_postgres(connection: Connection) -> None:
    await connection.execute("SELECT 1 / 0")


async def _fail_in_python(_: Connection) -> None:
    raise KeyError("word")


@pytest.mark.parametrize("fail", [_fail_in_postgres, _fail_in_python])
@pytest.mark.parametrize("all_sources", [False, True], ids=["changed", "all"])
async def test_a_source_that_fails_is_passed_over_and_keeps_no_other_waiting(
    known: Searched,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[Connection], Awaitable[None]],
    all_sources: bool,
) -> None:
    await known.search()
    await known.add(a="Ermintrude Quoll", b="Ermintrud Quoll", c="Ermentrude Quoll")
    await known.count()
    failing, tries = UUID(known.world.id("b")), []

    async def find(connection: Connection, ids: Collection[UUID], total: int) -> Any:
        tries.append(ids)
        if failing in ids:
            await fail(connection)
        return await pairs.find_pairs(connection, ids, total)

    with monkeypatch.context() as patched:
        patched.setattr(pairing, "find_pairs", find)
        if all_sources:
            async with known.database.connection() as connection:
                await connection.execute("DELETE FROM duplicate_progress")
        await known.search()
    assert await pairing.age(known.database) == 0
    assert sum(failing in ids for ids in tries) < pairing.MAX_SOURCES
    assert f"no pairs are searched for the source {failing}" in caplog.text
    assert frozenset("ac") in await known.named(source_id=known.world.id("a"))
    await known.world.patch("b", note="Compared again.")
    await known.search()
    assert frozenset("ab") in await known.named(source_id=known.world.id("a"))
    for name in "abc":
        assert (await known.world.delete(name)).status_code == 204


async def test_one_process_makes_a_step_at_a_time(known: Searched) -> None:
    await known.search()
    await known.add(a="Peregrine Took", b="Peregrin Took")
    await known.count()
    connection = await known.database.connect()
    async with connection.transaction():
        assert await connection.fetchval(pairing.TAKE_LOCK)
        assert not await pairing.step(known.database)
    await connection.close()
    assert await pairing.step(known.database)


async def test_a_step_compares_few_sources(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await known.search()
    compared: list[int] = []

    async def find(connection: Connection, ids: Collection[UUID], total: int) -> Any:
        compared.append(len(ids))
        return await pairs.find_pairs(connection, ids, total)

    monkeypatch.setattr(pairing, "find_pairs", find)
    monkeypatch.setattr(pairing, "MAX_SOURCES", 2)
    await known.add(**{f"p{number}": f"Thaddeus Mooreland {number}" for number in range(5)})
    await known.search()
    assert sum(compared) == 5
    assert max(compared) == 2


async def test_little_is_compared_however_many_names_are_alike(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", 2)
    await known.add(**{f"s{number}": "Jocasta Smythe" for number in range(8)})
    await known.search()
    (rows,) = await known.database.fetch(
        "SELECT count(*) AS kept FROM duplicate_pairs WHERE source_name = 'jocasta smythe'"
    )
    assert 8 <= rows["kept"] <= 2 * 8
    assert {name for pair in await known.named() for name in pair} >= {
        f"s{number}" for number in range(8)
    }


async def test_names_are_compared_in_parts_and_beside_the_event_loop(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await known.search()
    compared: list[int] = []
    threads: set[threading.Thread] = set()

    def words_of(name: str) -> tuple[str, ...]:
        threads.add(threading.current_thread())
        return names.words_of(name)

    def alike(one: str, other: str) -> float:
        threads.add(threading.current_thread())
        return names.alike(one, other)

    async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
        if function.__name__ == "_score_some":
            compared.append(len(args[1]))
        return await large_input.in_thread(function, *args)

    monkeypatch.setattr(pairs, "MAX_SCORED", 2)
    for each in (words_of, alike, in_thread):
        monkeypatch.setattr(pairs, each.__name__, each)
    await known.add(**{f"n{number}": f"Cuthbert Ramsbottom {number}" for number in range(4)})
    await known.search()
    assert max(compared) == 2
    assert len(compared) > 1
    assert threads
    assert threading.main_thread() not in threads


async def test_pairs_that_are_too_many_to_compare_again_stay(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = [f"hub{number}" for number in range(6)]
    await known.add(**dict.fromkeys(hub, "Wilhelmina Fotheringay"))
    await known.search()
    of_hub = {"source_id": known.world.id("hub0")}
    every = {frozenset(("hub0", each)) for each in hub[1:]}
    assert await known.named(**of_hub) == every
    found = pairs.FOUND
    for bound in (f"rank <= {pairs.MAX_COMPARED}", f"LIMIT {pairs.MAX_PARTNERS}"):
        assert bound in found
        found = found.replace(bound, bound.rpartition(" ")[0] + " 1")
    monkeypatch.setattr(pairs, "FOUND", found)
    await known.world.patch("hub0", note="Compared anew.")
    await known.search()
    assert await known.named(**of_hub) == every
    await known.world.patch("hub0", confidentiality="internal")
    await known.search()
    assert await known.named(**of_hub) == every
    await known.world.patch("hub0", confidentiality="public")
    await known.world.patch("hub0", name="Wilhelmina Cholmondeley")
    await known.search()
    assert await known.named(**of_hub) == set()
    for name in hub:
        assert (await known.world.delete(name)).status_code == 204


@pytest.mark.parametrize(
    "lost",
    [
        "DELETE FROM duplicate_progress",
        "UPDATE duplicate_progress SET seq = seq + 1000000",
        "UPDATE duplicate_progress SET records = records + 1000000",
    ],
    ids=["nothing was compared yet", "the feed was restored", "there are far fewer sources"],
)
async def test_all_sources_are_compared_from_the_beginning(known: Searched, lost: str) -> None:
    await known.search()
    before = await known.pairs(limit=200)
    async with known.database.connection() as connection:
        await connection.execute("DELETE FROM duplicate_pairs")
        await connection.execute(lost)
    await known.search()
    found = {(each["source_id"], each["other_id"]) for each in await known.pairs(limit=200)}
    assert found >= {(each["source_id"], each["other_id"]) for each in before}


async def test_a_count_does_not_go_back_behind_that_of_another_process(
    known: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it did, all sources would be compared again, as when a feed was restored."""
    await known.search()
    await known.world.add("articles", "a")
    meanwhile = """
        WITH counted AS (
            UPDATE word_counts SET seq = :newest::bigint + 1000
            WHERE record_type = :record_type::text AND seq = :seq::bigint
        )
        SELECT false"""
    with monkeypatch.context() as patched:
        patched.setattr(counting, "CHANGED", meanwhile)
        await known.count()
    (row,) = await known.database.fetch(
        "SELECT c.seq - max(f.seq) AS ahead FROM word_counts AS c, feed AS f"
        " WHERE c.record_type = 'source' GROUP BY c.seq"
    )
    assert row["ahead"] == 1000


async def test_the_age_says_how_long_a_change_waits(known: Searched) -> None:
    await known.search()
    assert await pairing.age(known.database) == 0
    await known.add(a="Lysander Crabbe")
    await known.count()
    assert await pairing.age(known.database) > 0
    await known.search()
    assert await pairing.age(known.database) == 0
    answer = await known.client.get("/metrics")
    assert "claim_records_duplicates_age_seconds 0.0" in answer.text
