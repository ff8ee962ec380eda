"""Sources that may be meant by a name: fifty names that somebody could type, and the rules."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api import demo
from api.access import keyring
from api.core.db import Database
from api.matching import candidates, sources
from api.matching.names import MAX_LETTERS, SURE, alike, compare, latin, sound, weight_of, words_of
from api.matching.vocabulary import Vocabulary
from schemas.vocabularies import Scope
from tests.conftest import allow, as_service, bearer, cloned, patient, serving
from tests.test_match_claims import Matcher

pytestmark = pytest.mark.usefixtures("unhurried_matching")
READER = keyring.written("namesreaders", "0" * 30)
INVENTED = {
    "person": [
        "Oleksandr Syrskyi", "Aleksandr Lukashenko", "Muammar Qadhafi", "Boris Yeltsin", "Kim Yo-jong",
        "Choe Son-hui", "Mikheil Saakashvili", "Tedros Adhanom Ghebreyesus", "Ursula von der Leyen",
        "José Manuel Albares", "Jürgen Stock", "Władysław Kosiniak-Kamysz", "Recep Tayyip Erdoğan",
        "Abdel Fattah al-Burhan", "Mohamed Hamdan Dagalo", "Luis Gilberto Murillo", "Jens Stoltenberg",
        "Сергей Шойгу", "Αλέξης Τσίπρας", "Lee Jae-myung", "Lee Seong-hun", "Seong Min-jae",
    ],
    "government_body": [
        "Foreign ministry of South Korea", "Defence ministry of South Korea", "Defence ministry of Russia",
        "Foreign ministry of Russia", "Ministry of Health of Sudan", "Ministry of Interior of Colombia",
        "National Police Agency", "Bundesamt für Verfassungsschutz", "Office of the Prosecutor General",
        "Institute for National Statistics", "Central Bank of the Harbour States",
    ],
    "organisation": [
        "Médecins Sans Frontières", "International Committee of the Red Cross", "World Health Organization",
        "United Nations", "Northgate Water Company", "Harbour Workers Union", "Estuary Conservation Trust",
    ],
}  # fmt: skip
FIFTY = [
    ("zelenski", "Volodymyr Zelensky"), ("Zelenskiy Volodimir", "Volodymyr Zelensky"),
    ("Wolodymyr Selenskyj", "Volodymyr Zelensky"), ("Зеленский", "Volodymyr Zelensky"),
    ("ministries north korea", "Foreign ministry of North Korea"),
    ("north korean foreign ministry", "Foreign ministry of North Korea"),
    ("foriegn ministry north korea", "Foreign ministry of North Korea"),
    ("Seong-kweun Lee", "Lee Seong-kweun"), ("Lee Seongkweun", "Lee Seong-kweun"),
    ("Lee Seong-kwon", "Lee Seong-kweun"), ("Seong Kweon Lee", "Lee Seong-kweun"),
    ("nationl inteligence servce", "National Intelligence Service"),
    ("intelligence service, national", "National Intelligence Service"),
    ("assembly national south korea", "National Assembly of South Korea"),
    ("joint chief of staff korea south", "Joint Chiefs of Staff of South Korea"),
    ("Pentagone", "US Department of Defense"), ("departement of defence US", "US Department of Defense"),
    ("harbor courier", "The Harbour Courier"), ("Courrier Harbour", "The Harbour Courier"),
    ("Estuery Post", "The Estuary Post"), ("northgate news agancy", "Northgate News Agency"),
    ("Telegramm", "Telegram"), ("Rossiya", "Russia"), ("Moskow", "Russia"), ("Ukraina", "Ukraine"),
    ("Kiyv", "Ukraine"), ("Pyöngyang", "North Korea"), ("Syrsky", "Oleksandr Syrskyi"),
    ("Alexander Lukaschenko", "Aleksandr Lukashenko"), ("Лукашенко", "Aleksandr Lukashenko"),
    ("Gaddafi", "Muammar Qadhafi"), ("Moammar Khadafy", "Muammar Qadhafi"), ("Jelzin", "Boris Yeltsin"),
    ("Ельцин Борис", "Boris Yeltsin"), ("Kim Yojong", "Kim Yo-jong"), ("Choi Son Hui", "Choe Son-hui"),
    ("Saakaschwili", "Mikheil Saakashvili"), ("tedros gebreyesus", "Tedros Adhanom Ghebreyesus"),
    ("van der Layen", "Ursula von der Leyen"), ("Jose Albarez", "José Manuel Albares"),
    ("Juergen Stock", "Jürgen Stock"), ("Kosiniak Kamysz Wladyslaw", "Władysław Kosiniak-Kamysz"),
    ("erdogan tayip", "Recep Tayyip Erdoğan"), ("Burhan", "Abdel Fattah al-Burhan"),
    ("Mohammed Hamdan Daglo", "Mohamed Hamdan Dagalo"), ("Stoltenburg", "Jens Stoltenberg"),
    ("Shoigu", "Сергей Шойгу"), ("Alexis Tsipras", "Αλέξης Τσίπρας"),
    ("medecin sans frontiere", "Médecins Sans Frontières"),
    ("red cross international comittee", "International Committee of the Red Cross"),
]  # fmt: skip


@pytest.fixture(scope="module")
async def matcher(template: str) -> AsyncIterator[Matcher]:
    """Serve the sources of the sample, and invented ones."""
    async with serving_sources(template) as found:
        yield found


@asynccontextmanager
async def serving_sources(template: str) -> AsyncIterator[Matcher]:
    """Serve the sources of the sample, and invented ones."""
    async with cloned(template) as url, serving(url) as client:
        database = Database(as_service(url), patient(pool_size=2))
        await database.open()
        try:
            lines = [each for each in map(json.loads, demo.records()) if each["type"] == "source"]
            lines += [
                {"type": "source", "data": {"kind": kind, "name": name}}
                for kind, names in INVENTED.items()
                for name in names
            ]
            answer = await client.post(
                "/v1/import",
                content="\n".join(map(json.dumps, lines)),
                headers={"content-type": "application/x-ndjson"},
            )
            assert json.loads(answer.text.splitlines()[-1])["totals"]["refused"] == 0, answer.text
            matcher = Matcher(client, url, Vocabulary(database))
            await matcher.vocabulary.count(at_once=True)
            yield matcher
        finally:
            await database.close()


async def found(matcher: Matcher, name: str, **query: str) -> list[dict[str, Any]]:
    """Match one name."""
    answer = await matcher.client.get("/v1/sources/match", params={"name": name, **query})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_there_are_fifty() -> None:
    assert len(FIFTY) == 50


@pytest.mark.parametrize(("name", "meant"), FIFTY)
async def test_a_name_that_is_typed_otherwise_is_found_first(
    matcher: Matcher, name: str, meant: str
) -> None:
    items = await found(matcher, name)
    assert [each["record"]["name"] for each in items[:1]] == [meant], [
        (each["record"]["name"], each["score"]) for each in items
    ]


async def test_a_match_tells_which_words_are_alike(matcher: Matcher) -> None:
    (first, *_) = await found(matcher, "inteligence service national", limit="1")
    assert first["why"] == {
        "name": "national intelligence service",
        "words": [
            {"asked": "inteligence", "found": "intelligence", "alike": 0.917},
            {"asked": "service", "found": "service", "alike": 1.0},
            {"asked": "national", "found": "national", "alike": 1.0},
        ],
    }
    assert first["score"] >= SURE


async def test_kind_and_country_choose_the_sources(matcher: Matcher) -> None:
    assert await found(matcher, "National Intelligence Service", country_code="RU") == []
    items = await found(matcher, "South Korea", kind="armed_force")
    assert {each["record"]["kind"] for each in items} == {"armed_force"}


async def test_a_source_of_a_moment_ago_is_found_misspelt(matcher: Matcher) -> None:
    """Nothing has counted its words yet."""
    await matcher.world.add("sources", "new", kind="person", name="Bartholomew Quigley")
    (first, *_) = await found(matcher, "Bartolomew Quigly")
    assert first["record"]["name"] == "Bartholomew Quigley"


async def test_a_hidden_source_is_not_found_and_changes_no_score(matcher: Matcher) -> None:
    await allow(matcher.url, READER, [Scope.READ])

    async def seen() -> Any:
        await matcher.vocabulary.count(at_once=True)
        answer = await matcher.client.get(
            "/v1/sources/match", params={"name": "kosiniak telegram"}, headers=bearer(READER)
        )
        return answer.json()

    before = await seen()
    for number in range(4):
        await matcher.world.add(
            "sources",
            f"hidden{number}",
            kind="person",
            name="Kosiniak Telegram",
            confidentiality="restricted",
        )
    assert await seen() == before
    assert (await found(matcher, "kosiniak telegram"))[0]["record"]["name"] == "Kosiniak Telegram"


async def test_a_merged_source_is_found_as_its_survivor(matcher: Matcher) -> None:
    await matcher.world.add("sources", "kept", kind="person", name="Ottoline Quince")
    merged = await matcher.world.add("sources", "gone", kind="person", name="Otoline Quinse")
    answer = await matcher.client.post(
        f"{matcher.world.at('kept')}/merge",
        json={"source_id": merged["id"]},
        headers={"if-match": "*"},
    )
    assert answer.status_code == 200, answer.text
    for name in ("Ottoline Quince", "Otoline Quinse"):
        found_ids = [each["record"]["id"] for each in await found(matcher, name)]
        assert found_ids[:1] == [matcher.world.id("kept")]
        assert merged["id"] not in found_ids


async def test_many_names_of_one_word_are_read_within_bounds(matcher: Matcher) -> None:
    for name in ("-", "。。", "a" * 500, "x " * 200, "조선민주주의인민공화국", "🇰🇷"):
        assert len(await found(matcher, name)) <= 10
    assert (await found(matcher, "조선민주주의인민공화국"))[0]["record"]["name"] == "North Korea"


@pytest.mark.parametrize(
    "name", ["\ufdfa" * 70, "\ud55c\uad6d" * 250, "\ufdfa" * 500], ids=["70", "Korean", "500"]
)
async def test_a_word_that_is_very_long_in_latin_letters_is_cut(
    matcher: Matcher, name: str
) -> None:
    """A query of Postgres takes no word of more than 2,046 bytes."""
    await found(matcher, name)
    assert len(words_of(name)[0]) <= MAX_LETTERS
    await matcher.world.add("sources", f"long{len(name)}{name[0]}", kind="person", name=name)
    await matcher.vocabulary.count(at_once=True)
    assert (await found(matcher, name))[0]["score"] == 1


async def test_an_answer_has_the_best_sources_that_fit(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = await found(matcher, "South Korea", limit="5")
    assert len(every) == 5
    monkeypatch.setattr(sources, "MAX_BYTES", sum(len(json.dumps(e["record"])) for e in every[:2]))
    assert await found(matcher, "South Korea", limit="5") == every[:2]


async def test_filters_that_match_little_read_no_more_sources(
    matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ones are looked at is up to Postgres: three that have the word, and the newest three."""
    for number in range(9):
        await matcher.world.add("sources", f"z{number}", kind="person", name=f"Zeebrugge {number}")
    assert len(await found(matcher, "Zeebrugge", kind="person")) == 9
    monkeypatch.setattr(candidates, "MAX_LOOKED_AT", 3)
    assert 3 <= len(await found(matcher, "Zeebrugge", kind="person")) <= 6
    assert await found(matcher, "Zeebrugge", kind="organisation") == []


@pytest.mark.parametrize("query", ["", "name=", "name=a&kind=dog", "name=a&limit=51", "name=a&q=b"])
async def test_bad_queries_are_refused(matcher: Matcher, query: str) -> None:
    assert (await matcher.client.get(f"/v1/sources/match?{query}")).status_code == 400


def test_words_in_other_scripts_are_written_in_latin_letters() -> None:
    assert [latin(each) for each in ("Зеленський", "이성권", "Ζωή", "Straße", "Łódź")] == [
        "zelenskiy", "iseonggwon", "zoi", "strasse", "lodz",
    ]  # fmt: skip


def test_words_that_sound_alike_have_one_sound() -> None:
    assert sound("gaddafi") == sound("qadhafi") == sound("kadhafi")
    assert sound("yeltsin") == sound("jelzin")
    assert sound("lee") == ""


def test_other_words_are_not_alike() -> None:
    for one, other in (
        ("nations", "states"),
        ("john", "jane"),
        ("2019", "2020"),
        ("korea", "kenya"),
    ):
        assert alike(one, other) < 0.75, (one, other)


def test_a_rare_word_weighs_more() -> None:
    weight = weight_of({"ministry": 900, "estuary": 1}, 1_000)
    asked = words_of("estuary ministry")
    rare = compare(asked, [words_of("Estuary Post")], weight).score
    common = compare(asked, [words_of("Ministry Post")], weight).score
    assert rare > 2 * common
