"""The landing page: what anybody may see of what is kept, and what it says without it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import patient, serving, serving_as_it_is

HOSTILE = "<img src=x onerror=alert(1)> & $origin “words”"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt; &amp; $origin “words”"
TEXT = "At least 40 containers were lost in the storm, the mayor said."


async def create(client: httpx.AsyncClient, plural: str, **body: Any) -> str:
    answer = await client.post(f"/v1/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    identity: str = answer.json()["id"]
    return identity


async def home(client: httpx.AsyncClient, **headers: str) -> str:
    """Ask for the page as somebody without a key, unless one is given."""
    headers = {"authorization": "", **headers}
    request = client.build_request("GET", "/", headers=headers)
    if not headers["authorization"]:
        del request.headers["authorization"]
    answer = await client.send(request)
    assert answer.status_code == 200, answer.text
    return answer.text


async def coded(client: httpx.AsyncClient, text: str = "40 containers were lost") -> str:
    """Create a published claim with a chain of two hops, and a denial of it; give its id."""
    sources = {
        name: await create(client, "sources", kind="person", name=name)
        for name in ("The mayor", "The port authority", "The shipping line")
    }
    briefing = await create(client, "sources", kind="briefing", description="a press briefing")
    paper = await create(client, "sources", kind="publication", name="The Harbour Gazette")
    article = await create(client, "articles", headline="Storm hits", publisher_id=paper, text=TEXT)
    hops = [
        {"position": 0, "source_id": sources["The mayor"], "resolution": "certain"},
        {"position": 1, "source_id": sources["The port authority"], "via_id": briefing},
    ]
    span = {"role": "content", "start": 0, "end": 45, "exact": TEXT[:45], "suffix": TEXT[45:]}
    claim = await create(
        client,
        "claims",
        text=text,
        attributions=hops,
        appearances=[{"article_id": article, "spans": [span]}],
        review_status="published",
    )
    await create(
        client,
        "denials",
        text="Nothing was lost",
        kind="full_denial",
        targets=[{"claim_id": claim}],
        attributions=[{"source_id": sources["The shipping line"], "resolution": "certain"}],
        review_status="published",
    )
    return claim


async def test_a_claim_is_shown_with_its_chain_its_printed_words_and_its_denial(
    empty: httpx.AsyncClient,
) -> None:
    claim = await coded(empty)
    await create(empty, "claims", text="Newer, and with nothing", review_status="published")
    page = await home(empty)
    figure = page[page.index("<figure") : page.index("</figure>")]
    assert f'<a href="/explore/claims/{claim}">40 containers were lost</a>' in figure
    said = [
        *("Printed in", "“Storm hits”, The Harbour Gazette"),
        f"<mark>{TEXT[:45]}</mark>, the mayor said.",
        *(
            "Claimed by",
            "The mayor",
            "Citing",
            "The port authority, via a press briefing",
        ),
        *("Denied by", "The shipping line: ", "Nothing was lost"),
    ]
    assert [words for words in said if words not in figure] == [], figure
    places = [figure.index(words) for words in said]
    assert places == sorted(places)
    assert page.index("Newer, and with nothing") > page.index("</figure>")


async def test_a_denial_that_credits_nobody_is_shown_as_such(empty: httpx.AsyncClient) -> None:
    claims = [
        await create(empty, "claims", text=text, review_status="published")
        for text in ("It rained", "It snowed")
    ]
    for text, attributions in (
        ("It did not", []),
        ("It was dry", [{"role": "author_voice"}]),
    ):
        await create(
            empty,
            "denials",
            text=text,
            kind="full_denial",
            targets=[{"claim_id": each} for each in claims],
            attributions=attributions,
            review_status="published",
        )
    page = await home(empty)
    for kind in ("role", "family"):  # in full, and in the list
        assert f'<span class="{kind}">Denied</span> <span dir="auto"><a ' in page
        by = f'<span class="{kind}">Denied by</span> <span dir="auto">the article itself: <a '
        assert by in page


async def test_what_a_record_holds_is_text(empty: httpx.AsyncClient) -> None:
    await coded(empty, HOSTILE)
    page = await home(empty)
    assert ESCAPED in page
    assert "<img" not in page


@pytest.mark.parametrize("key", ["", "own"])
async def test_nobody_is_shown_what_is_not_published(empty: httpx.AsyncClient, key: str) -> None:
    await create(empty, "claims", text="A draft of a claim", review_status="draft")
    headers = {"authorization": empty.headers["authorization"]} if key else {}
    page = await home(empty, **headers)
    assert "A draft of a claim" not in page
    assert "None yet. The first takes one line" in page


async def test_without_open_reads_the_page_says_how_to_get_in(empty_url: str) -> None:
    settings = patient(pool_size=5, rate_per_minute=10_000_000, open_reads=False)
    async with serving(empty_url, settings) as client:
        await coded(client)
        page = await home(client)
    assert "Reading requires a key here" in page
    assert "containers were lost</a>" not in page
    assert 'href="/v1/claims' not in page
    assert 'href="/explore/claims"' in page  # there a key can be entered
    assert 'href="/v1/vocabularies"' in page


async def test_without_its_database_the_page_shows_an_invented_claim_and_says_so() -> None:
    async with serving_as_it_is("postgresql://127.0.0.1:1/nowhere") as client:
        page = await home(client)
    assert "The claims cannot be shown just now." in page
    assert "One invented claim, as it is kept" in page
    assert "the port authority" in page


async def test_the_page_is_sent_again_only_after_it_changed(empty: httpx.AsyncClient) -> None:
    first = await empty.get("/")
    policy = first.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    condition = {"if-none-match": first.headers["etag"]}
    assert (await empty.get("/", headers=condition)).status_code == 304
    await create(empty, "claims", text="Something new", review_status="published")
    assert "Something new" in (await empty.get("/", headers=condition)).text
