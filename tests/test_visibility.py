"""Who sees what: every way of reading, asked by callers of each kind, against a model.

The model knows nothing of the service: it goes by a record's fields and a key's scopes. Each
version of each record holds a word of its own, so that what an answer gives away is found by
looking for words. The routes are read off the OpenAPI document, so that a new one is covered
unasked.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.access.embargoes import lift
from api.core import clocks
from api.core.db import Database
from api.records.nouns import RESOURCES
from tests.callers import CALLERS, KEYS, headers_of
from tests.conftest import PATIENCE, cloned, patient, serving, swept
from tests.world import MINIMAL, Record, faults, span

# --- the model -------------------------------------------------------------------------------

CANARY: Final = re.compile(r"canary[0-9a-f]{12}")
FAR: Final = "2999-01-01T00:00:00Z"


def sees_any(scopes: frozenset[str] | None, plural: str) -> bool:
    """Tell whether some records of a type are there for a caller."""
    held = {"read", *(scopes or ())}
    confidential = plural == "sources" and "confidential:read" in held
    return bool(held & {"read", "drafts:read", f"{plural}:write"}) or confidential


def sees(scopes: frozenset[str] | None, plural: str, record: Mapping[str, Any]) -> bool:
    """Tell whether a record with these fields is there for a caller."""
    held = {"read", *(scopes or ())}
    drafts = bool(held & {"drafts:read", f"{plural}:write"})
    if plural == "sources":
        level = record["confidentiality"]
        if level in {"restricted", "protected"}:
            return "confidential:read" in held
        public = level == "public"
    elif plural == "articles":
        public = record["status"] in {"usable", "retracted"}
    else:
        public = record["review_status"] == "published"
    embargo = record.get("embargoed_until")
    public = public and (embargo is None or datetime.fromisoformat(embargo) <= datetime.now(UTC))
    return drafts or (public and "read" in held)


def sees_hidden_articles(scopes: frozenset[str] | None) -> bool:
    """Tell whether articles that are hidden are there for a caller."""
    return bool((scopes or frozenset()) & {"drafts:read", "articles:write"})


class Written(NamedTuple):
    """A version of a record: its fields, and the word that it holds.

    `in_hidden` tells whether an article in which the record appears was hidden then.
    """

    fields: Record
    canary: str
    in_hidden: bool = False


@dataclass
class Known:
    """A record of the data, with all its versions."""

    name: str
    plural: str
    quotes_hidden: Callable[[Record], bool]  # tells whether fields quote what is hidden today
    versions: list[Written] = field(default_factory=list)
    deleted: bool = False

    @property
    def id(self) -> str:
        """Its id."""
        found: str = self.versions[0].fields["id"]
        return found

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/v1/{self.plural}/{self.id}"

    def there(self, scopes: frozenset[str] | None) -> bool:
        """Tell whether the record, deleted or not, is there for a caller."""
        return self.seen_then(self.versions[-1], scopes)

    def seen_then(self, written: Written, scopes: frozenset[str] | None) -> bool:
        """Tell whether a version was there for a caller when it was written."""
        shown = sees_hidden_articles(scopes) or not written.in_hidden
        return shown and sees(scopes, self.plural, written.fields)

    def seen(self, written: Written, scopes: frozenset[str] | None) -> bool:
        """Tell whether a version may be read by a caller today."""
        shown = sees_hidden_articles(scopes) or not self.quotes_hidden(written.fields)
        return shown and sees(scopes, self.plural, written.fields)

    def words(self, scopes: frozenset[str] | None) -> set[str]:
        """Give the words that a caller may read, in the record or in its history."""
        if not self.there(scopes):
            return set()
        return {v.canary for v in self.versions if self.seen(v, scopes)}


# --- the data --------------------------------------------------------------------------------

WORDS: Final = {"articles": "headline", "claims": "text", "denials": "text", "sources": "name"}


class Data:
    """Records of every kind that can be hidden, and the clients that ask for them."""

    def __init__(self, clients: Mapping[str, httpx.AsyncClient]) -> None:
        self.clients = clients
        self.known: dict[str, Known] = {}

    @property
    def full(self) -> httpx.AsyncClient:
        """The client that sees everything."""
        return self.clients["everybody"]

    def id(self, name: str) -> str:
        """Give a record's id."""
        return self.known[name].id

    def path(self, name: str) -> str:
        """Give a record's path."""
        return self.known[name].path

    def resolved(self, value: Any) -> Any:
        """Put ids in the place of `@name`s."""
        text = re.sub(r'"@(\w+)"', lambda found: f'"{self.id(found[1])}"', json.dumps(value))
        return json.loads(text)

    async def add(self, plural: str, name: str, /, **fields: Any) -> None:
        """Create a record with a word of its own."""
        canary = f"canary{uuid4().hex[:12]}"
        external = [{"namespace": "model", "value": name}]
        body = {**MINIMAL[plural], **fields, WORDS[plural]: canary, "external_ids": external}
        response = await self.full.post(f"/v1/{plural}", json=self.resolved(body))
        assert response.status_code == 201, response.text
        written = self._written(response.json(), canary)
        self.known[name] = Known(name, plural, self.quotes_hidden, [written])

    def _written(self, fields: Record, canary: str) -> Written:
        return Written(fields, canary, self.quotes_hidden(fields))

    def quotes_hidden(self, fields: Record) -> bool:
        """Tell whether fields name an article, as one of their appearances, that is hidden now."""
        articles = {k.id: k for k in self.known.values() if k.plural == "articles"}
        printed = [articles[each["article_id"]] for each in fields.get("appearances", [])]
        reader = frozenset({"read"})
        return any(not sees(reader, "articles", k.versions[-1].fields) for k in printed)

    async def change(self, name: str, **fields: Any) -> None:
        """Change a record, its word included."""
        known = self.known[name]
        canary = f"canary{uuid4().hex[:12]}"
        response = await self.full.patch(
            known.path,
            json=self.resolved({**fields, WORDS[known.plural]: canary}),
            headers={"if-match": "*", "content-type": "application/merge-patch+json"},
        )
        assert response.status_code == 200, response.text
        known.versions.append(self._written(response.json(), canary))
        if known.plural == "articles":
            await self._follow(known.id)

    async def _follow(self, article_id: str) -> None:
        """Note the versions of records that were hidden or revealed with an article."""
        for known in self.known.values():
            last = known.versions[-1]
            named = [each["article_id"] for each in last.fields.get("appearances", [])]
            if article_id in named and not known.deleted:
                fields = (await self.full.get(known.path)).json()
                if fields["version"] > last.fields["version"]:
                    known.versions.append(self._written(fields, last.canary))

    async def delete(self, name: str) -> None:
        """Delete a record."""
        response = await self.full.delete(self.path(name), headers={"if-match": "*"})
        assert response.status_code == 204, response.text
        self.known[name].deleted = True


def by(source: str) -> Record:
    """Write a chain of one hop."""
    return {"attributions": [{"source_id": source}]}


async def fill(data: Data) -> None:
    """Write something of every kind that can be hidden, and what refers to it."""
    for level in ("public", "internal", "restricted", "protected"):
        await data.add("sources", f"s_{level}", confidentiality=level)
        await data.add("sources", f"s_{level}_gone", confidentiality=level)
        await data.delete(f"s_{level}_gone")
    held = [{"source_id": "@s_public", "role": "member"}]
    await data.add("sources", "g_public", kind="group", members=held)
    await data.add("sources", "g_protected", members=held, confidentiality="protected")
    await data.add("sources", "s_was_protected", confidentiality="protected")
    await data.change("s_was_protected", confidentiality="public")
    await data.add("sources", "s_was_public")
    await data.change("s_was_public", confidentiality="restricted")
    for status in ("usable", "withheld", "retracted", "taken_down"):
        await data.add("articles", f"a_{status}", status=status, text=f"Words of {status}.")
    await data.add("articles", "a_embargoed", embargoed_until=FAR)
    await data.add("articles", "a_cited", publisher_id="@s_protected")
    await data.add("articles", "a_withheld_gone", status="withheld")
    await data.delete("a_withheld_gone")
    for status in ("draft", "in_review", "approved", "published", "rejected", "killed"):
        more = by("@s_protected") if status == "published" else by("@s_public")
        await data.add("claims", f"c_{status}", review_status=status, **more)
    await data.add("articles", "a_hidden_later")
    await data.add("articles", "a_shown_later", status="withheld")
    await _fill_claims(data)
    await _fill_denials(data)
    await _fill_printed(data)


async def _fill_claims(data: Data) -> None:
    public = {"review_status": "published"}
    await data.add("claims", "c_embargoed", **public, embargoed_until=FAR)
    await data.add("claims", "c_past", **public, embargoed_until="2020-01-01T00:00:00Z")
    await data.add("claims", "c_answered", **public)
    await data.add("claims", "c_grouped", **public, **by("@g_protected"))
    await data.add("claims", "c_openly_grouped", **public, **by("@g_public"))
    relation = {"claim_id": "@c_published", "kind": "explains", "basis": "editor"}
    await data.add("claims", "c_draft_related", relations=[relation])
    printed = {"article_id": "@a_cited", "quote_type": "indirect"}
    await data.add("claims", "c_draft_printed", **by("@s_internal"), appearances=[printed])
    words = span("Words of withheld.", "withheld", role="content")
    hidden = {"article_id": "@a_withheld", "spans": [words]}
    await data.add("claims", "c_printed", **public, appearances=[{**printed, **hidden}])
    await data.add("claims", "c_was_draft")
    await data.change("c_was_draft", language="ko")
    await data.change("c_was_draft", review_status="published")
    await data.change("c_was_draft", review_status="killed")
    await data.change("c_was_draft", review_status="published", language="en")
    for name, more in (("c_draft_gone", {}), ("c_public_gone", public)):
        await data.add("claims", name, **more)
        await data.delete(name)


async def _fill_denials(data: Data) -> None:
    def target(claim: str) -> Record:
        return {"kind": "full_denial", "targets": [{"claim_id": claim}]}

    public = {"review_status": "published"}
    await data.add("denials", "d_published", **public, **target("@c_published"))
    await data.add("denials", "d_draft", **target("@c_answered"))
    await data.add("denials", "d_embargoed", **public, **target("@c_past"), embargoed_until=FAR)
    await data.add("denials", "d_of_draft", **public, **target("@c_draft"))
    await data.add("denials", "d_draft_gone", **target("@c_answered"))
    await data.delete("d_draft_gone")


async def _fill_printed(data: Data) -> None:
    """Write what is hidden, or was, because an article is, or was."""

    def printed_in(*articles: str) -> Record:
        return {"appearances": [{"article_id": each, "quote_type": "direct"} for each in articles]}

    public = {"review_status": "published"}
    later = printed_in("@a_hidden_later")
    await data.add("claims", "p_draft", **printed_in("@a_withheld"))
    await data.add("claims", "p_embargoed", **public, **printed_in("@a_cited", "@a_embargoed"))
    await data.add("claims", "p_hidden_later", **public, **later)
    await data.add("claims", "p_draft_hidden_later", **later)
    await data.add("claims", "p_shown_later", **public, **printed_in("@a_shown_later"))
    await data.add("claims", "p_both", **public, **printed_in("@a_hidden_later", "@a_shown_later"))
    await data.add("claims", "p_moved_out", **public, **printed_in("@a_withheld"))
    await data.change("p_moved_out", **printed_in("@a_cited"))
    await data.add("claims", "p_moved_away", **public, **later)
    await data.change("p_moved_away", **printed_in())
    await data.change("p_moved_away", language="en")
    await data.add("claims", "p_gone_hidden", **public, **printed_in("@a_withheld"))
    await data.delete("p_gone_hidden")
    await data.add("claims", "p_gone_then_hidden", **public, **later)
    await data.delete("p_gone_then_hidden")
    denial = {**public, "kind": "full_denial", "targets": [{"claim_id": "@c_answered"}]}
    await data.add("denials", "q_withheld", **denial, **printed_in("@a_withheld"))
    await data.add("denials", "q_hidden_later", **denial, **later)
    await data.change("a_hidden_later", status="withheld")
    await data.change("a_shown_later", status="usable")
    for name, versions in {
        "p_both": [True],
        "p_hidden_later": [False, True],
        "p_shown_later": [True, False],
        "q_hidden_later": [False, True],
    }.items():
        assert [each.in_hidden for each in data.known[name].versions] == versions


@pytest.fixture(scope="module")
async def data(template: str) -> AsyncIterator[Data]:
    """Fill a database, and make a client for each caller."""
    async with cloned(template) as url, serving(url) as first:
        clients = {}
        for name in CALLERS:
            client = httpx.AsyncClient(transport=first._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
            if name in KEYS:
                client.headers.update(await headers_of(name, url))
            clients[name] = client
        found = Data(clients)
        await fill(found)
        yield found


@pytest.fixture(params=list(CALLERS))
def name(request: pytest.FixtureRequest) -> str:
    """Take each caller in turn."""
    found: str = request.param
    return found


# --- every route -----------------------------------------------------------------------------


def paths_of(template: str, data: Data) -> Iterator[str]:
    """Fill a path with every record, and with each of its versions."""
    if "{" not in template:
        yield template
        return
    for known in data.known.values():
        for version in range(1, len(known.versions) + 2):
            path = re.sub(r"\{(?!version)\w+\}", known.id, template)
            yield path.replace("{version}", str(version))
            if "{version}" not in template:
                break


def queries_of(operation: Record, data: Data) -> Iterator[dict[str, str]]:
    """Ask an operation everything that could give a record away."""
    parameters = {p["name"]: p for p in operation.get("parameters", []) if "name" in p}
    if "namespace" in parameters:
        yield from ({"namespace": "model", "value": known} for known in data.known)
        return
    yield {}
    if "as_of" in parameters:
        versions = [v for known in data.known.values() for v in known.versions]
        yield {"as_of": max(v.fields["updated_at"] for v in versions)}
    page = {"limit": "200"} if "limit" in parameters else {}
    if "count" in parameters:
        page["count"] = "exact"
    if "expand" in parameters:
        expansions = re.findall(r"`(\w+)`: ", parameters["expand"]["description"])
        assert expansions
        page["expand"] = ",".join(expansions)
    for parameter in parameters:
        of_type = {"related_to": operation["tags"][0], "id__in": operation["tags"][0]}
        plural = of_type.get(parameter, "claims" if "claim" in parameter else "")
        plural = plural or next((p for p in ("article", "denial") if p in parameter), "source")
        named = [k for k in data.known.values() if k.plural.startswith(plural.rstrip("s"))]
        if parameter.endswith("_id") or parameter in of_type:
            yield from ({**page, parameter: known.id} for known in named)
        elif parameter in {"q", "name", "name__startswith"}:
            yield from (
                {**page, parameter: v.canary} for k in data.known.values() for v in k.versions
            )
    yield page
    if "sort" in parameters:
        yield {**page, "q": "canary or words", "sort": "relevance"}


async def answer_of(client: httpx.AsyncClient, path: str, query: Record) -> httpx.Response:
    """Ask; of a stream, which goes on, take what it sends until it says that this is all for now.

    (httpx' own transport to an application waits for the end.)
    """
    url = client.build_request("GET", path, params=query).url
    sent: list[dict[str, Any]] = []
    enough = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if b"event: up-to-date" in message.get("body", b"") or not message.get("more_body", True):
            enough.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "headers": [(b"host", b"127.0.0.1"), *client.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await client._transport.app(scope, receive, send)  # type: ignore[attr-defined] # noqa: SLF001 - the same application
    body = b"".join(message.get("body", b"") for message in sent)
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


@pytest.mark.long
@pytest.mark.parametrize("name", swept(CALLERS, tried=["claims"]))
async def test_no_route_gives_away_what_is_hidden_and_together_they_show_the_rest(
    data: Data, name: str
) -> None:
    scopes, client = CALLERS[name], data.clients[name]
    allowed = {word for known in data.known.values() for word in known.words(scopes)}
    there = {known.id for known in data.known.values() if known.there(scopes)}
    document = (await client.get("/openapi.json")).json()
    found: set[str] = set()
    for template, operations in document["paths"].items():
        if "get" not in operations:
            continue
        for path in paths_of(template, data):
            for query in queries_of(operations["get"], data):
                response = await answer_of(client, path, query)
                assert response.status_code < 500, (path, query, response.text)
                words = set(CANARY.findall(response.text))
                assert words <= allowed, (path, query, response.text)
                found |= words
                is_json = response.headers.get("content-type", "") == "application/json"
                if response.status_code == 200 and is_json and "included" in response.json():
                    page = response.json()
                    ids = {
                        i["id"]
                        for i in page.get("items", ())
                        if "id" in i and "/v1/keys" not in path
                    }
                    brought = {i for each in page["included"].values() for i in each}
                    assert (ids | brought if path.count("/") == 2 else brought) <= there | (
                        ids if path in {"/v1/audit", "/v1/keys"} else set()
                    )
                    if query.get("count") and page["next_cursor"] is None:
                        assert page["total"] == len(page["items"])
    assert found == allowed


def told(response: httpx.Response) -> Record:
    """Give an answer without what differs from request to request."""
    kept = {k: v for k, v in response.json().items() if k not in {"instance", "request_id"}}
    return {"status": response.status_code, **kept}


async def test_a_hidden_record_is_answered_as_one_that_never_was(data: Data, name: str) -> None:
    scopes, client = CALLERS[name], data.clients[name]
    for known in data.known.values():
        never = f"/v1/{known.plural}/{uuid4()}"
        response = await client.get(known.path)
        if not sees_any(scopes, known.plural):
            assert response.status_code in {401, 403}
        elif not known.there(scopes):
            assert response.status_code == 404
            for more in ("", "/revisions", "/revisions/1", f"?as_of={FAR}"):
                answer = await client.get(known.path + more)
                assert told(answer) == told(await client.get(never + more))
        else:
            assert response.status_code == (410 if known.deleted else 200)


async def test_lists_and_their_totals_hold_what_the_model_says(data: Data, name: str) -> None:
    scopes, client = CALLERS[name], data.clients[name]
    for plural in WORDS:
        response = await client.get(f"/v1/{plural}", params={"limit": "200", "count": "exact"})
        if not sees_any(scopes, plural):
            assert response.status_code in {401, 403}
            continue
        live = {
            known.id
            for known in data.known.values()
            if known.plural == plural and known.there(scopes) and not known.deleted
        }
        assert {item["id"] for item in response.json()["items"]} == live
        assert response.json()["total"] == len(live)


async def test_a_history_holds_the_versions_that_were_to_be_seen(data: Data, name: str) -> None:
    scopes, client = CALLERS[name], data.clients[name]
    for known in data.known.values():
        if not known.there(scopes):
            continue
        seen = [known.seen(v, scopes) for v in known.versions]
        expected = [n for n, is_seen in enumerate(seen, 1) if is_seen]
        expected += [len(seen) + 1] * known.deleted
        page = (await client.get(f"{known.path}/revisions")).json()
        assert [each["version"] for each in page["items"]] == expected[::-1]
        for number, written in enumerate(known.versions, 1):
            answer = await client.get(f"{known.path}/revisions/{number}")
            assert answer.status_code == (200 if seen[number - 1] else 404)
            at = {"as_of": written.fields["updated_at"]}
            answer = await client.get(known.path, params=at)
            assert answer.status_code == (200 if seen[number - 1] else 404)


async def test_what_changed_is_told_against_what_was_to_be_seen(data: Data) -> None:
    """Between versions 3 and 5 of the claim lies one that readers never saw."""
    path = data.path("c_was_draft") + "/revisions/"
    for name, version, changed in (
        ("reader", 3, []),
        ("editor", 3, ["text", "review_status"]),
        ("reader", 5, ["text", "language"]),
        ("editor", 5, ["text", "language", "review_status"]),
    ):
        found = (await data.clients[name].get(f"{path}{version}")).json()["changed"]
        assert sorted(found) == sorted(changed)


_IN_CITED = ["c_draft_printed", "p_embargoed", "p_moved_out"]
_DENIED = ["c_answered", "c_draft", "c_past", "c_published"]


@pytest.mark.parametrize(
    ("query", "reader", "everybody"),
    [
        ("claims?response_family=denies", ["c_published"], _DENIED),
        ("claims?related_to=@c_draft_related", [], ["c_published"]),
        ("claims?article_id=@a_shown_later", ["p_shown_later"], ["p_both", "p_shown_later"]),
        ("claims?article_id=@a_embargoed", [], ["p_embargoed"]),
        ("claims?article_id=@a_cited", ["p_moved_out"], _IN_CITED),
        ("denials?article_id=@a_hidden_later", [], ["q_hidden_later"]),
        ("claims?response_family=denies&id__in=@c_answered", [], ["c_answered"]),
        ("claims?related_to=@c_published", [], ["c_draft_related"]),
        ("claims?origin_id=@s_protected", ["c_published"], ["c_published"]),
        ("articles?source_id=@s_internal", [], ["a_cited"]),
        ("denials?claim_id=@c_answered", [], ["d_draft", "q_hidden_later", "q_withheld"]),
        ("denials?claim_id=@c_draft", ["d_of_draft"], ["d_of_draft"]),
        ("sources?member_id=@s_public", ["g_public"], ["g_protected", "g_public"]),
    ],
)  # fmt: skip
async def test_filters_go_through_what_is_to_be_seen_alone(
    data: Data, query: str, reader: list[str], everybody: list[str]
) -> None:
    path = re.sub(r"@(\w+)", lambda found: data.id(found[1]), f"/v1/{query}")
    assert await names(data, "reader", path) == reader
    assert await names(data, "everybody", path) == everybody


async def names(data: Data, caller: str, path: str) -> list[str]:
    """Ask a list; give the names of what is in it."""
    response = await data.clients[caller].get(path, params=httpx.URL(path).params)
    assert response.status_code == 200, response.text
    of = {known.id: known.name for known in data.known.values()}
    return sorted(of[item["id"]] for item in response.json()["items"])


async def test_a_hidden_group_leads_nowhere_and_a_hidden_denial_answers_nothing(
    data: Data,
) -> None:
    grouped = f"/v1/claims?source_id={data.id('s_public')}"
    assert "c_openly_grouped" in await names(data, "reader", grouped)
    assert "c_grouped" not in await names(data, "reader", grouped)
    assert "c_grouped" in await names(data, "everybody", grouped)
    without = "/v1/claims?without_response_family=denies"
    assert "c_answered" in await names(data, "reader", without)
    assert "c_answered" not in await names(data, "everybody", without)


# --- writes ----------------------------------------------------------------------------------


async def test_writes_to_a_hidden_record_are_answered_as_to_one_that_never_was(
    data: Data,
) -> None:
    client = data.clients["sources"]
    patch = {"if-match": "*", "content-type": "application/merge-patch+json"}
    for name in ("s_protected", "s_restricted", "s_was_public", "s_protected_gone"):
        answers = []
        for path in (data.path(name), f"/v1/sources/{uuid4()}"):
            any_ = {"if-match": "*"}
            answers.append(
                [
                    told(await client.patch(path, json={"note": "x"}, headers=patch)),
                    told(await client.put(path, json=dict(MINIMAL["sources"]), headers=any_)),
                    told(await client.delete(path, headers=any_)),
                    told(await client.post(f"{path}/restore", headers=any_)),
                ]
            )
        hidden, never = answers
        assert hidden == never
        assert [each["status"] for each in hidden] == [404, 412, 404, 404]


async def test_a_name_that_a_hidden_record_has_is_taken_and_no_more_is_told(data: Data) -> None:
    client, identity = data.clients["sources"], data.id("s_protected")
    body = dict(MINIMAL["sources"])
    pair = {"namespace": "model", "value": "s_protected"}
    answers = [
        await client.put(f"/v1/sources/{identity}", json=body, headers={"if-none-match": "*"}),
        await client.put("/v1/sources/by-external-id", params=pair, json=body),
        await client.post("/v1/sources", json={**body, "external_ids": [pair]}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "not-unique")
        del answer.headers["x-request-id"]
        assert identity not in answer.text.replace(f"/v1/sources/{identity}", "")
        assert "etag" not in answer.headers
    lines = [
        {"type": "source", "id": identity, "data": body},
        {"type": "source", "external_id": pair, "data": body},
        {"type": "source", "op": "delete", "id": identity},
        {"type": "source", "id": identity, "if_match": "*", "data": body},
    ]
    response = await client.post(
        "/v1/import",
        content="\n".join(map(json.dumps, lines)),
        headers={"content-type": "application/x-ndjson"},
    )
    results = [json.loads(line) for line in response.text.splitlines()]
    assert [each["status"] for each in results[:-1]] == [409, 409, 404, 412]
    assert not CANARY.search(response.text)


async def test_a_hidden_record_can_not_be_referred_to_but_stays_where_it_stands(
    data: Data,
) -> None:
    client = data.clients["claims"]
    hidden = data.resolved(by("@s_protected"))
    body = {**MINIMAL["claims"], **hidden}
    assert faults(await client.post("/v1/claims", json=body)) == {
        "/attributions/0/source_id": "unknown-reference"
    }
    stands = (await client.get(data.path("c_published"))).json()
    response = await client.put(data.path("c_published"), json=stands, headers={"if-match": "*"})
    assert response.json() == stands


async def test_what_appears_in_a_hidden_article_is_not_changed_by_who_does_not_see_it(
    data: Data,
) -> None:
    client = data.clients["claims"]
    patch = {"if-match": "*", "content-type": "application/merge-patch+json"}
    for name in ("c_printed", "p_draft", "p_hidden_later", "p_both", "p_gone_hidden"):
        hidden, never = [
            [
                told(await client.patch(path, json={"note": "x"}, headers=patch)),
                told(await client.put(path, json={"text": "x"}, headers={"if-match": "*"})),
                told(await client.delete(path, headers={"if-match": "*"})),
                told(await client.post(f"{path}/restore", headers={"if-match": "*"})),
            ]
            for path in (data.path(name), f"/v1/claims/{uuid4()}")
        ]
        assert hidden == never
    # The tombstone is seen, but what would come back is not.
    known = data.known["p_gone_then_hidden"]
    response = await client.post(f"{known.path}/restore", headers={"if-match": "*"})
    assert faults(response) == {"/appearances/0/article_id": "unknown-reference"}
    assert (await data.full.get(known.path)).status_code == 410
    revisions = (await client.get(f"{known.path}/revisions")).json()["items"]
    assert [(each["op"], each["record"]) for each in revisions] == [("deleted", None)]


async def test_a_deletion_is_refused_for_hidden_referrers_without_naming_them(data: Data) -> None:
    response = await data.clients["sources"].delete(
        data.path("s_internal"), headers={"if-match": "*"}
    )
    assert response.status_code == 409
    assert response.json()["referrers"] == []
    assert data.id("c_draft_printed") not in response.text
    response = await data.full.delete(data.path("s_internal"), headers={"if-match": "*"})
    assert [each["id"] for each in response.json()["referrers"]] == [data.id("c_draft_printed")]


# --- what changed ----------------------------------------------------------------------------


async def test_the_feed_tells_what_the_model_says(data: Data, name: str) -> None:
    """Of each record: when it came, what it was while it could be seen, and when it went."""
    scopes, client = CALLERS[name], data.clients[name]
    answer = await client.get("/v1/changes", params={"limit": "1000"})
    if not any(sees_any(scopes, plural) for plural in WORDS):
        assert answer.status_code in {401, 403}
        return
    assert answer.json()["up_to_date"]
    for known in data.known.values():
        versions = [v.fields for v in known.versions]
        expected: list[tuple[int, str, Record | None]] = []
        before = False
        for number, (fields, written) in enumerate(zip(versions, known.versions, strict=True), 1):
            now = known.seen_then(written, scopes)
            if now:
                shown = known.there(scopes) and known.seen(written, scopes)
                record = fields if shown else None
                expected.append((number, "updated" if before else "created", record))
            elif before:
                expected.append((number, "removed", None))
            before = now
        if known.deleted and before:
            expected.append((len(versions) + 1, "deleted", None))
        items = [item for item in answer.json()["items"] if item["id"] == known.id]
        assert [(i["version"], i["op"], i["record"]) for i in items] == expected
        assert all(item["type"] + "s" == known.plural for item in items)


async def test_the_export_holds_what_the_model_says(data: Data, name: str) -> None:
    scopes, client = CALLERS[name], data.clients[name]
    answer = await client.get("/v1/export")
    if not any(sees_any(scopes, plural) for plural in WORDS):
        assert answer.status_code in {401, 403}
        return
    _, *lines, _ = [json.loads(line) for line in answer.text.splitlines()]
    live = [k for k in data.known.values() if k.there(scopes) and not k.deleted]
    assert {line["id"]: line["data"] for line in lines} == {
        known.id: known.versions[-1].fields for known in live
    }


# --- embargoes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plural", "public"),
    [
        ("articles", {}),
        ("claims", {"review_status": "published"}),
        ("denials", {"review_status": "published"}),
    ],
)
async def test_the_end_of_an_embargo_is_an_event_by_itself(
    empty_url: str, plural: str, public: Record
) -> None:
    async with serving(empty_url) as full:
        reader = httpx.AsyncClient(transport=full._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
        withheld = {"status": "withheld"} if plural == "articles" else {}
        for seconds in (0.7, 7, PATIENCE):  # as long as this machine takes until the 404
            ends = datetime.now(UTC) + timedelta(seconds=seconds)
            body = {**MINIMAL[plural], "embargoed_until": ends.isoformat()}
            held, draft = [
                (await full.post(f"/v1/{plural}", json={**body, **more})).json()
                for more in (public, withheld)
            ]
            path = f"/v1/{plural}/{held['id']}"
            before = await reader.get(path)
            if datetime.now(UTC) < ends:
                break
        assert before.status_code == 404
        async with asyncio.timeout(2 * PATIENCE):
            while (answer := await reader.get(path)).status_code != 200:
                assert answer.status_code == 404
        record = answer.json()
        assert {**record, "version": 1, "updated_at": held["updated_at"]} == held
        assert record["version"] == 2
        (revision,) = (await reader.get(f"{path}/revisions")).json()["items"]
        assert (revision["op"], revision["changed"], revision["actor"]) == ("updated", [], None)
        assert (await reader.get(f"/v1/{plural}/{draft['id']}")).status_code == 404
        assert (await full.get(f"/v1/{plural}/{draft['id']}")).json()["version"] == 1
    connection = await asyncpg.connect(empty_url)
    rows = await connection.fetch(
        "SELECT version, op, visibility_before, visibility_after FROM outbox"
        " WHERE record_id = $1 ORDER BY id",
        held["id"],
    )
    await connection.close()
    assert [tuple(row) for row in rows] == [(1, "created", None, 1), (2, "updated", 1, 0)]


async def test_processes_that_notice_together_write_one_revision(empty_url: str) -> None:
    database = Database(empty_url, patient(pool_size=4))
    connection = await asyncpg.connect(empty_url)
    await connection.execute(
        "INSERT INTO claims (id, text, review_status, embargoed_until)"
        " SELECT gen_random_uuid(), 'x', 'published', clock_timestamp() + interval '1 d'"
        " FROM generate_series(1, 20)"
    )
    await database.open()
    assert await lift(database, RESOURCES.values()) == 0
    await connection.execute("SET session_replication_role = replica")  # a day later
    await connection.execute("UPDATE claims SET embargoed_until = now(), lifts_at = now()")
    assert sum(await asyncio.gather(*(lift(database, RESOURCES.values()) for _ in range(4)))) == 20
    assert await lift(database, RESOURCES.values()) == 0
    assert await connection.fetchval("SELECT count(*) FROM revisions WHERE version = 2") == 20
    await database.close()
    await connection.close()


@pytest.mark.parametrize(("until", "ahead", "lifted"), [(12, 24, 0), (-12, -24, 0), (-12, -11, 1)])
async def test_an_embargo_ends_when_both_clocks_say_so(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, until: int, ahead: int, lifted: int
) -> None:
    """Hours until it ends by Postgres' clock, and how far the service's clock is ahead of that."""
    monkeypatch.setattr(clocks, "utc_now", lambda: datetime.now(UTC) + timedelta(hours=ahead))
    database = Database(empty_url, patient(pool_size=1))
    connection = await asyncpg.connect(empty_url)
    await connection.execute(
        "INSERT INTO claims (id, text, review_status, embargoed_until)"
        " VALUES (gen_random_uuid(), 'x', 'published', clock_timestamp() + interval '1 d')"
    )
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        "UPDATE claims SET (embargoed_until, lifts_at) = ROW(now() + $1, now() + $1)",
        timedelta(hours=until),
    )
    await database.open()
    assert await lift(database, RESOURCES.values()) == lifted
    assert await connection.fetchval("SELECT visibility FROM claims") == 1 - lifted
    await database.close()
    await connection.close()


async def test_an_embargo_counts_beside_a_hidden_article(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres' clock is a day ahead, and who sees the article may not see the claim."""
    monkeypatch.setattr(clocks, "utc_now", lambda: datetime.now(UTC) - timedelta(days=1))
    async with serving(empty_url) as full:
        database = Database(empty_url, patient(pool_size=1))
        await database.open()
        await lift(database, RESOURCES.values())
        article = {**MINIMAL["articles"], "status": "withheld"}
        article_id = (await full.post("/v1/articles", json=article)).json()["id"]
        ends = datetime.now(UTC) - timedelta(hours=12)
        body = {
            **MINIMAL["claims"],
            "review_status": "published",
            "embargoed_until": ends.isoformat(),
            "appearances": [{"article_id": article_id}],
        }
        assert (await full.post("/v1/claims", json=body)).status_code == 201
        row = await database.fetchrow("SELECT visibility, lifts_at FROM claims")
        assert row is not None
        assert (row["visibility"], row["lifts_at"]) == (5, ends)
        await database.close()


@pytest.mark.parametrize("plural", ["articles", "claims", "denials"])
async def test_no_write_publishes_what_is_embargoed_by_the_service_s_clock(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, plural: str
) -> None:
    """Postgres' clock is a day ahead, and the embargo ends in between."""
    late = timedelta(days=1)
    monkeypatch.setattr(clocks, "utc_now", lambda: datetime.now(UTC) - late)
    async with serving(empty_url) as full:
        database = Database(empty_url, patient(pool_size=1))
        await database.open()
        await lift(database, RESOURCES.values())
        nobody = httpx.AsyncClient(transport=full._transport, base_url="http://127.0.0.1")  # noqa: SLF001 - the same application
        ends = datetime.now(UTC) - timedelta(hours=12)
        public = {} if plural == "articles" else {"review_status": "published"}
        body = {**MINIMAL[plural], **public, "embargoed_until": ends.isoformat()}
        made = await full.post(f"/v1/{plural}", json=body)
        path = made.headers["location"]
        assert (await nobody.get(path)).status_code == 404
        headers = {"if-match": made.headers["etag"], "content-type": "application/merge-patch+json"}
        patched = await full.patch(path, json={"note": "n"}, headers=headers)
        assert (patched.status_code, (await nobody.get(path)).status_code) == (200, 404)
        assert await lift(database, RESOURCES.values()) == 0
        late = timedelta(hours=11)
        async with asyncio.timeout(PATIENCE):
            while (await nobody.get(path)).status_code != 200:
                await lift(database, RESOURCES.values())
        assert (await full.get(path)).json()["version"] == 3
        await database.close()


async def test_a_write_by_hand_is_classed_like_any_other(empty_url: str) -> None:
    connection = await asyncpg.connect(empty_url)
    add = "INSERT INTO sources (id, kind, identification, name, confidentiality, visibility)"
    row: asyncpg.Record | None = None
    for level, class_ in (("public", 0), ("internal", 1), ("restricted", 2), ("protected", 2)):
        values = f"VALUES (gen_random_uuid(), 'person', 'named', 'x', '{level}', 0)"
        row = await connection.fetchrow(f"{add} {values} RETURNING id, visibility")
        assert row is not None
        assert row["visibility"] == class_
        moved = "UPDATE sources SET visibility = 0 WHERE id = $1 RETURNING id"
        assert await connection.fetchval(moved, row["id"]) is None
    assert row is not None
    attributions = json.dumps([{"source_id": str(row["id"]), "role": "claimant"}])
    claim = await connection.fetchval(
        "INSERT INTO claims (id, text, attributions) VALUES (gen_random_uuid(), 'x', $1)"
        " RETURNING id",
        attributions,
    )
    link = await connection.fetchrow("SELECT hop, is_origin FROM links WHERE owner_id = $1", claim)
    assert link is not None
    assert tuple(link) == (0, True)
    await connection.close()
