"""Import: lines that refer to records by external id in the place of an id."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.access import keyring
from api.sync.importing import batches
from schemas.vocabularies import RecordType, Scope
from schemas.walking import has_object_for_id, slots_in
from tests.conftest import allow, bearer, serving
from tests.factories import EVERY, Noun
from tests.test_import import claim, line, new, send, source, status

BATCHED = pytest.mark.parametrize("together", [True, False], ids=["one-batch", "many"])
ORDERED = pytest.mark.parametrize("atomic", ["false", "true"])


@pytest.fixture
def named() -> Any:
    """Give external ids that no other test has."""
    namespace = f"desk-{uuid4()}"
    return lambda value: {"namespace": namespace, "value": value}


def split(monkeypatch: pytest.MonkeyPatch, *, together: bool) -> None:
    if not together:
        monkeypatch.setattr(batches, "MAX_LINES", 1)


def pointers(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(error["pointer"], error["code"]) for error in result["problem"]["errors"]]


@pytest.mark.parametrize("noun", EVERY.values(), ids=EVERY)
def test_an_external_id_is_seen_wherever_an_id_may_stand(noun: Noun) -> None:
    document, kind = noun.full({of: new() for of in RecordType}), noun.resource.create
    slots = list(slots_in(document, kind))
    assert slots
    assert not has_object_for_id(document, kind)
    for holder, key, *_ in slots:
        identity, holder[key] = holder[key], {}
        assert has_object_for_id(document, kind)
        holder[key] = identity


@BATCHED
@ORDERED
async def test_a_line_refers_to_lines_above_however_they_name_their_record(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    named: Any,
    together: bool,
    atomic: str,
) -> None:
    """By the external id of the line, by one in its data, and by one beside an id."""
    split(monkeypatch, together=together)
    lines = [
        source() | {"external_id": named("a")},
        source(external_ids=[named("c")]) | {"external_id": named("b")},
        source(new(), external_ids=[named("d")]),
        line("article", {"text": "Lee says so."}, external_id=named("report")),
        claim(
            attributions=[{"source_id": named(value), "position": 0} for value in "abcd"],
            appearances=[
                {
                    "article_id": named("report"),
                    "spans": [{"start": 0, "end": 3, "exact": "Lee"}],
                }
            ],
        ),
    ]
    results, totals = await send(client, lines, atomic=atomic)
    assert totals["totals"]["created"] == 5, results
    record = (await client.get(f"/v1/claims/{results[-1]['id']}")).json()
    ids = [each["id"] for each in results]
    assert [hop["source_id"] for hop in record["attributions"]] == [ids[0], ids[1], ids[1], ids[2]]
    (appearance,) = record["appearances"]
    assert (appearance["article_id"], appearance["anchor"]) == (ids[3], "exact")

    results, totals = await send(client, [lines[0], lines[1], lines[3]], atomic=atomic)
    assert totals["totals"]["unchanged"] == 3
    assert [each["id"] for each in results] == [ids[0], ids[1], ids[3]]


async def test_a_line_refers_to_a_record_that_was_there_before(
    client: httpx.AsyncClient, named: Any
) -> None:
    await send(client, [source(external_ids=[named("lee")])])
    (result,), _ = await send(client, [claim(attributions=[{"source_id": named("lee")}])])
    assert result["status"] == 201


@BATCHED
async def test_only_an_atomic_import_has_lines_that_refer_to_lines_below(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, named: Any, together: bool
) -> None:
    split(monkeypatch, together=together)
    lines = [
        claim(attributions=[{"source_id": named("lee")}]),
        claim(relations=[{"claim_id": named("other"), "kind": "restates"}]),
        claim() | {"external_id": named("other")},
        source() | {"external_id": named("lee")},
    ]
    for dry_run in ("true", "false"):
        results, totals = await send(client, lines, atomic="true", dry_run=dry_run)
        assert totals["totals"]["created"] == 4, results
        assert await status(client, f"/v1/claims/{results[1]['id']}") == (
            404 if dry_run == "true" else 200
        )
    relation = (await client.get(f"/v1/claims/{results[1]['id']}")).json()["relations"][0]
    assert relation["claim_id"] == results[2]["id"]

    lines[0]["data"]["attributions"][0]["source_id"] = named("park")
    lines[3]["external_id"] = named("park")
    results, _ = await send(client, lines)
    assert [each["status"] for each in results] == [422, 201, 200, 201]
    assert pointers(results[0]) == [("/data/attributions/0/source_id", "unknown-reference")]
    assert "`park`" in results[0]["problem"]["detail"]
    assert "`atomic=true`" in results[0]["problem"]["detail"]


@ORDERED
async def test_an_external_id_that_no_record_has_is_refused_by_line_and_field(
    client: httpx.AsyncClient, named: Any, atomic: str
) -> None:
    lines = [
        source(new()),
        claim(text="", attributions=[{}, {"source_id": named("nobody")}]),
        claim(attributions=[{"source_id": named("nobody")}], parent_claim_id=new()),
    ]
    results, totals = await send(client, lines, atomic=atomic)
    assert totals["totals"]["refused"] == 2
    assert totals["committed"] is (atomic == "false")
    unknown = "unknown-reference"
    assert [each["line"] for each in results if each["status"] == 422] == [2, 3]
    assert pointers(results[1]) == [
        ("/data/text", "invalid-value"),
        ("/data/attributions/1/source_id", unknown),
    ]
    assert sorted(pointers(results[2])) == [
        ("/data/attributions/0/source_id", unknown),
        ("/data/parent_claim_id", unknown),
    ]
    for result in results[1:]:
        (told,) = [e for e in result["problem"]["errors"] if "source_id" in e["pointer"]]
        assert "source with the external id `nobody`" in told["detail"]


async def test_a_line_below_that_names_its_record_by_id_has_to_come_first(
    client: httpx.AsyncClient, named: Any
) -> None:
    """Whoever writes the file knows that id, and can refer to it."""
    identity = new()
    lines = [
        claim(relations=[{"claim_id": named("other"), "kind": "restates"}]),
        claim(identity, external_ids=[named("other")]),
    ]
    results, totals = await send(client, lines, atomic="true")
    assert totals["committed"] is False
    assert [each["status"] for each in results] == [422, 424]
    assert identity in results[0]["problem"]["detail"]
    _, totals = await send(client, lines[::-1], atomic="true")
    assert totals["totals"]["created"] == 2


async def test_what_is_no_external_id_is_refused_with_all_other_faults(
    client: httpx.AsyncClient, named: Any
) -> None:
    lines = [
        claim(attributions=[{"source_id": {"namespace": "desk"}}, {"source_id": named("nobody")}]),
        claim(text="", parent_claim_id={"namespace": "desk", "value": 7, "more": None}),
        claim(parent_claim_id={}),
    ]
    results, _ = await send(client, lines)
    assert [pointers(each) for each in results] == [
        [
            ("/data/attributions/0/source_id/value", "required"),
            ("/data/attributions/1/source_id", "unknown-reference"),
        ],
        [
            ("/data/parent_claim_id/value", "wrong-type"),
            ("/data/parent_claim_id/more", "unknown-field"),
            ("/data/text", "invalid-value"),
        ],
        [
            ("/data/parent_claim_id/namespace", "required"),
            ("/data/parent_claim_id/value", "required"),
        ],
    ]


async def test_one_record_by_two_names_is_one_record(client: httpx.AsyncClient, named: Any) -> None:
    """The rules of a record hold for what its external ids mean."""
    other = new()
    itself = source(new(), parent_id=named("itself"), external_ids=[named("itself")])
    relations = [{"claim_id": each, "kind": "restates"} for each in (other, named("other"))]
    results, _ = await send(
        client,
        [
            claim(other, external_ids=[named("other")]),
            claim(relations=relations),
            source(itself["id"], external_ids=[named("itself")]),
            itself,
        ],
    )
    assert [each["status"] for each in results] == [201, 422, 201, 422]
    assert pointers(results[1]) == [("/data/relations/1", "duplicate-item")]
    assert pointers(results[3]) == [("/data/parent_id", "self-reference")]


async def test_a_record_that_the_caller_does_not_see_is_not_there(
    empty_url: str, named: Any
) -> None:
    async with serving(empty_url) as client:
        (hidden,), _ = await send(
            client, [source(confidentiality="protected", external_ids=[named("mole")])]
        )
        key = await allow(
            empty_url, keyring.new_key(), (Scope.READ, Scope.IMPORT, Scope.CLAIMS_WRITE)
        )
        client.headers.update(bearer(key))
        lines = [claim(attributions=[{"source_id": named(each)}]) for each in ("mole", "nobody")]
        results, _ = await send(client, lines)
        details = [each["problem"]["detail"] for each in results]
        assert details[0].replace("mole", "nobody") == details[1]
        assert hidden["id"] not in str(results)


async def test_a_guess_of_a_hidden_external_id_tells_nothing(empty_url: str, named: Any) -> None:
    """The claim shows the id of its source to everybody, and that id must reveal nothing."""
    async with serving(empty_url) as client:
        (hidden,), _ = await send(
            client, [source(confidentiality="protected", external_ids=[named("mole")])]
        )
        hop = {"position": 0, "source_id": hidden["id"]}
        (told,), _ = await send(client, [claim(attributions=[hop], review_status="published")])
        key = await allow(
            empty_url, keyring.new_key(), (Scope.READ, Scope.IMPORT, Scope.CLAIMS_WRITE)
        )
        client.headers.update(bearer(key))
        record = (await client.get(f"/v1/claims/{told['id']}")).json()
        answers = []
        for guess in ("mole", "nobody"):
            again = {**record, "attributions": [{"position": 0, "source_id": named(guess)}]}
            parties = [
                {"source_id": hidden["id"], "role": "actor"},
                {"source_id": named(guess), "role": "actor"},
            ]
            lines = [line("claim", again, id=told["id"]), claim(parties=parties)]
            results, _ = await send(client, lines, dry_run="true")
            answers.append([each["problem"]["errors"] for each in results])
        assert str(answers[0]).replace("mole", "nobody") == str(answers[1])


@BATCHED
async def test_a_line_above_that_takes_an_external_id_away_is_followed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, named: Any, together: bool
) -> None:
    split(monkeypatch, together=together)
    a, b, c = (new() for _ in range(3))
    await send(client, [source(a, external_ids=[named("moved")]), source(b)])
    lines = [
        source(a, external_ids=[]),
        source(b, external_ids=[named("moved")]),
        claim(attributions=[{"position": 0, "source_id": named("moved")}]),
    ]
    results, _ = await send(client, lines)
    assert [each["status"] for each in results] == [200, 200, 201], results
    record = (await client.get(f"/v1/claims/{results[2]['id']}")).json()
    assert record["attributions"][0]["source_id"] == b

    await send(client, [source(a, external_ids=[named("lost")]), source(c)])
    lines = [
        source(a, external_ids=[]),
        claim(attributions=[{"position": 0, "source_id": named("lost")}]),
        {"type": "source", "id": b, "op": "delete"},
        source(c, external_ids=[named("new")]),
        claim(attributions=[{"position": 0, "source_id": named("new")}]),
    ]
    results, _ = await send(client, lines)
    assert [each["status"] for each in results] == [200, 422, 409, 200, 201], results
