"""Claims that may say what a text says: which are found, why, and for whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from api.access import keyring
from api.core.db import Database
from api.core.sql import render
from api.matching import candidates, claims, counting
from api.matching.candidates import MAX_READ, Term, choose
from api.matching.letters import Letters
from api.matching.scoring import AskedTerm, AskedText, Candidate, WordScorer, supported
from api.matching.texts import capitalised, figures, signed, spoken
from api.matching.vocabulary import Vocabulary
from schemas.vocabularies import Scope
from tests.conftest import allow, as_service, bearer, cloned, patient, serving
from tests.world import World

pytestmark = pytest.mark.usefixtures("unhurried_matching")
READER = keyring.written("matcherreads", "0" * 30)
Json = dict[str, Any]
SAID = {
    "soldiers": "More than 3,000 North Korean soldiers have been killed or wounded in Kursk.",
    "drones": "Ukraine's drones destroyed a fuel depot near the airfield of Engels.",
    "minister": "The foreign minister denies that an attack was planned.",
    "troops": "North Korea sent 10,000 troops to Russia.",
    "floods": "Floods in Valencia killed at least 200 people.",
    "nothing": "The moon is made of cheese.",
}


class Matcher:
    """A service with claims, and what counts their words."""

    def __init__(self, client: httpx.AsyncClient, url: str, vocabulary: Vocabulary) -> None:
        """Keep what the tests need."""
        self.client, self.url, self.vocabulary = client, url, vocabulary
        self.world = World(client)

    async def matches(self, text: str, **query: str) -> list[Json]:
        """Match one text."""
        answer = await self.client.get("/v1/claims/match", params={"text": text, **query})
        assert answer.status_code == 200, answer.text
        (match,) = answer.json()["matches"]
        assert match["complete"]
        items: list[Json] = match["items"]
        return items

    async def best(self, text: str, **query: str) -> str:
        """Name the claim that matches a text best."""
        items = await self.matches(text, **query)
        return str(self.world.named(items[0]["record"]["id"])) if items else ""


@pytest.fixture(scope="module")
async def matcher(template: str) -> AsyncIterator[Matcher]:
    """Serve a database of its own, whose words are counted by this test alone."""
    async with cloned(template) as url, serving(url) as client:
        settings = patient(pool_size=2)
        database = Database(as_service(url), settings)
        await database.open()
        try:
            matcher = Matcher(client, url, Vocabulary(database))
            for name, text in SAID.items():
                await matcher.world.add(
                    "claims", name, text=text, language="en", review_status="published"
                )
            await matcher.world.add(
                "claims",
                "verluste",
                text="Nordkoreanische Soldaten wurden getötet.",
                language="de",
                review_status="published",
            )
            await matcher.vocabulary.count(at_once=True)
            yield matcher
        finally:
            await database.close()


async def test_the_same_words_score_one(matcher: Matcher) -> None:
    (first, *_) = await matcher.matches(SAID["drones"], language="en")
    assert first["score"] == 1
    assert first["record"]["text"] == SAID["drones"]


async def test_other_forms_of_the_words_are_found(matcher: Matcher) -> None:
    """Claim and text share stems, not words."""
    assert await matcher.best("soldier wounding", language="en") == "soldiers"
    assert await matcher.best("he destroys depots", language="en-GB") == "drones"
    assert await matcher.best("nordkoreanischer Soldat", language="de") == "verluste"


async def test_without_a_language_the_likely_ones_are_tried(matcher: Matcher) -> None:
    assert await matcher.best("the soldier was wounding them") == "soldiers"
    assert await matcher.best("nordkoreanischer Soldat") == "verluste"


async def test_a_misspelt_text_is_matched(matcher: Matcher) -> None:
    assert await matcher.best("Valensia flods") == "floods"


async def test_a_word_inside_another_one_is_no_misspelling_of_it(matcher: Matcher) -> None:
    """“training” has the letters of “raining”, but people rarely mistake the first letter."""
    text = "The choir was training."
    await matcher.world.add("claims", "choir", text=text, language="en", review_status="published")
    await matcher.vocabulary.count(at_once=True)
    assert await matcher.best("It is raining", language="en") == ""
    assert await matcher.best("It is trainning", language="en") == "choir"


async def test_each_match_tells_why(matcher: Matcher) -> None:
    text = "They say the 3000 Korean soldiers were wounded, or killed."
    (first, *_) = await matcher.matches(text, language="en")
    assert first["record"]["text"] == SAID["soldiers"]
    assert first["why"]["figures"] == ["3000"]
    assert first["why"]["names"] == ["Korean"]
    assert set(first["why"]["words"]) == {"soldiers", "wounded", "killed"}


async def test_tags_are_the_words_that_they_join_and_addresses_say_nothing(
    matcher: Matcher,
) -> None:
    assert await matcher.best("#FuelDepot @EngelsAirfield https://example.com/cheese") == "drones"
    assert spoken("see https://t.co/abc #WW2Veterans") == "see   WW 2 Veterans"


async def test_what_was_written_a_moment_ago_is_matched_by_its_stems(matcher: Matcher) -> None:
    """Nothing has counted its words yet, and it has some that no other claim has."""
    await matcher.world.add(
        "claims",
        "fresh",
        text="Quokkas were multiplying at Rottnest.",
        language="en",
        review_status="published",
    )
    assert await matcher.best("a quokka multiplies", language="en") == "fresh"


async def test_many_texts_are_matched_at_once(matcher: Matcher) -> None:
    body = {
        "texts": [
            {"id": "a", "text": "fuel depot destroyed", "language": "en"},
            {"text": "xyzzy plugh"},
            {"id": "c", "text": "a cheese moon"},
        ],
        "limit": 1,
    }
    answer = await matcher.client.post("/v1/claims/match", json=body)
    assert answer.status_code == 200, answer.text
    matches = answer.json()["matches"]
    assert [each["id"] for each in matches] == ["a", None, "c"]
    found = [[matcher.world.named(item["record"]["id"]) for item in m["items"]] for m in matches]
    assert found == [["drones"], [], ["nothing"]]


async def test_filters_choose_the_claims(matcher: Matcher) -> None:
    body = {"texts": [{"text": "North Korean soldiers"}], "filters": {"language": "de"}}
    answer = await matcher.client.post("/v1/claims/match", json=body)
    languages = {i["record"]["language"] for m in answer.json()["matches"] for i in m["items"]}
    assert languages <= {"de"}
    body["filters"] = {"language": "!"}
    assert (await matcher.client.post("/v1/claims/match", json=body)).status_code == 422


async def test_texts_that_the_time_is_too_short_for_say_so(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MAX_SECONDS", -1.0)
    texts = [{"text": SAID["floods"]}, {"text": SAID["troops"]}]
    answer = await matcher.client.post("/v1/claims/match", json={"texts": texts})
    first, second = answer.json()["matches"]
    assert (first["complete"], len(first["items"]) > 0) == (True, True)
    assert (second["complete"], second["items"]) == (False, [])


async def test_hidden_claims_neither_show_nor_weigh(matcher: Matcher) -> None:
    """A reader's scores are the same with and without drafts that have the same words."""
    await allow(matcher.url, READER, [Scope.READ])
    text = {"text": "moon cheese airfield xylophone", "language": "en"}

    async def seen() -> Any:
        await matcher.vocabulary.count(at_once=True)
        answer = await matcher.client.get("/v1/claims/match", params=text, headers=bearer(READER))
        return answer.json()

    before = await seen()
    for number in range(5):
        await matcher.world.add(
            "claims", f"draft{number}", text="moon cheese xylophone", language="en"
        )
    assert await seen() == before
    own = await matcher.matches(text["text"])
    assert own[0]["record"]["text"] == "moon cheese xylophone"


async def test_a_count_goes_up_to_the_changes_that_there_are(matcher: Matcher) -> None:
    """A claim that is hidden again, or deleted, is not counted any more."""
    connection = await matcher.vocabulary._database.connect()  # noqa: SLF001
    counted = "SELECT coalesce(sum(records), 0) FROM claim_words WHERE word = 'ephemeral'"
    try:
        await matcher.world.add(
            "claims", "brief", text="An ephemeral thing", review_status="published"
        )
        await matcher.client.get("/v1/changes?since=now")  # numbers what was written
        await matcher.vocabulary.count(at_once=True)
        assert await connection.fetchval(counted) == 1
        await matcher.world.patch("brief", review_status="draft")
        await matcher.client.get("/v1/changes?since=now")
        await matcher.vocabulary.count(at_once=True)
        assert await connection.fetchval(counted) == 0
    finally:
        await connection.close()


def test_rare_words_select_and_the_number_of_records_is_bounded() -> None:
    terms = [Term((f"w{n}",), records, 1.0) for n, records in enumerate((3, 40, 900, 10**6, 10**6))]
    lookups = choose(terms)
    alone = [each for each in lookups if "&" not in each.query]
    assert [each.query for each in alone] == ["'w0'", "'w1'", "'w2'"]
    many = [Term((f"w{n}",), 10**6, 1.0) for n in range(60)]
    assert sum(each.most for each in choose(many)) <= 2 * MAX_READ
    assert all("&" in each.query for each in choose(many))


def test_words_are_quoted_whatever_they_consist_of() -> None:
    (lookup,) = choose([Term(("o'\\x",), 1, 1.0)])
    assert lookup.query == "'o''\\\\x'"


def test_who_signed_a_post_and_when_is_told_from_its_words() -> None:
    post = "A depot burns. — Ada Byron (@ada_byron) January 14, 2020"
    assert signed(post) == ("A depot burns.", "Ada Byron ", " January 14, 2020")
    assert signed("A depot - near (Engels) - burns.") == (
        "A depot - near (Engels) - burns.",
        "",
        "",
    )


def test_texts_are_alike_by_their_letters() -> None:
    texts = ["Wildfires burn in Attica", "A wild fire in Attica", "A moon of cheese", "", "!"]
    letters = Letters(texts)
    same, near, other, *nothing = letters.likenesses("Wildfires burn in Attica")
    assert same == pytest.approx(1)
    assert same > near > other == 0
    assert nothing == [0, 0]
    assert letters.likenesses("!") == [1] * len(texts)
    assert letters.between(0, 0) == pytest.approx(1)
    assert letters.between(0, 1) == letters.between(1, 0) > letters.between(0, 2) == 0
    assert letters.between(3, 4) == 0


def test_a_claim_gains_by_good_claims_that_are_like_it() -> None:
    """Nothing passes 1, and a claim that is like no other one keeps its score."""
    letters = Letters(
        ["Wildfires burn in Attica", "Fires burn in Attica", "A moon of cheese", "Moon landings"]
    )
    first, second, alone, last = supported([0.4, 0.3, 0.35, 0.0], letters)
    assert 0.4 < first < 0.5
    assert alone == pytest.approx(0.35, abs=0.001)
    assert second - 0.3 > first - 0.4
    assert 0 <= last < 0.01
    assert supported([1.0, 1.0, 1.0, 1.0], letters) == [1, 1, 1, 1]
    assert supported([], Letters([])) == []


async def test_claims_without_a_word_of_the_text_move_no_score() -> None:
    """Those that were written a moment ago are compared whatever their words are."""
    terms = [
        AskedTerm(word, 1, weight, 1, {word: 1.0}, word)
        for word, weight in (("wildfires", 3.0), ("attica", 2.0))
    ]
    asked = AskedText("wildfires in Attica", "en", terms, 2, 3.0, "english_stem")
    related = [
        Candidate("a", "Wildfires burn Attica", "", [1, 1], [1.0, 1.0], 3),
        Candidate("b", "Wildfires burn Euboea", "", [1, 0], [1.0, 0.0], 3),
    ]
    fresh = Candidate("c", "Fires in Attika, as all say", "", [0, 0], [0.0, 0.0], 6)
    alone = await WordScorer().score(asked, related)
    *beside, other = await WordScorer().score(asked, [*related, fresh])
    assert beside == alone
    assert other.score == 0


async def test_compounds_and_figures_tell_between_claims_with_the_same_stems(
    matcher: Matcher,
) -> None:
    for name, text in {
        "many": "In 2019 brush fires killed 77 quolls.",
        "few": "In 2019 brush fires killed 12 quolls.",
    }.items():
        await matcher.world.add("claims", name, text=text, language="en", review_status="published")
    assert await matcher.best("77 quolls died in brushfires", language="en") == "many"
    assert await matcher.best("12 quolls died in brushfires", language="en") == "few"


def test_figures_and_names_of_a_text() -> None:
    assert figures("3,000 of 12.5 in 2024") == ["3,000", "12.5", "2024"]
    assert capitalised("Some say. Then Kim of North Korea spoke") == {"Kim", "North", "Korea"}


@pytest.mark.parametrize(
    "query",
    ["", "text=", "text=a&text=b", "text=a&limit=0", "text=a&language=%C3%A9", "text=a&x=1"],
)
async def test_bad_queries_are_refused(matcher: Matcher, query: str) -> None:
    answer = await matcher.client.get(f"/v1/claims/match?{query}")
    assert answer.status_code == 400


async def test_filters_that_match_little_read_no_more_records(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on what matches the filters would not end a search for what does not match them.

    Which records a look-up reads first depends on where Postgres has put them.
    """
    for number in range(9):
        tags = [f"z{number}"]
        await matcher.world.add("claims", f"z{number}", text="zeppelins over Zeebrugge", tags=tags)

    async def found() -> int:
        total = 0
        for number in range(9):
            filters = {"tag": f"z{number}"}
            body = {"texts": [{"text": "zeppelins over Zeebrugge"}], "filters": filters}
            answer = await matcher.client.post("/v1/claims/match", json=body)
            assert answer.status_code == 200, answer.text
            total += len(answer.json()["matches"][0]["items"])
        return total

    assert await found() == 9
    monkeypatch.setattr(candidates, "MAX_LOOKED_AT", 3)
    assert await found() <= 2 * 3  # the newest ones, and those that the words bring


async def test_a_count_holds_no_more_words_in_memory_than_postgres_allows(
    matcher: Matcher,
) -> None:
    """An archive has millions of different words. Postgres puts on disk what passes its limit."""
    for number in range(8):
        words = " ".join(f"w{number}x{each:x}" for each in range(1_000))
        await matcher.world.add(
            "claims", f"many{number}", text=words, language="qaa", review_status="published"
        )
    connection = await asyncpg.connect(matcher.url)
    try:
        await connection.execute("SET work_mem = '64kB'")
        await connection.execute("SET hash_mem_multiplier = 1")
        query, *given = render(
            counting.COUNT_CLAIMS,
            languages=["qaa"],
            dictionary=counting.SIMPLE,
        )
        transaction = connection.transaction()
        await transaction.start()
        plan = await connection.fetchval(
            f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}", *given
        )
        await transaction.rollback()
    finally:
        await connection.close()
    (grouped,) = [each for each in _nodes(json.loads(plan)[0]["Plan"]) if "Group Key" in each]
    assert "Disk Usage" in grouped or grouped.get("Strategy") == "Sorted", grouped
    assert grouped.get("Peak Memory Usage", 0) < 1_000


def _nodes(plan: Json) -> list[Json]:
    return [plan, *(node for each in plan.get("Plans", []) for node in _nodes(each))]
