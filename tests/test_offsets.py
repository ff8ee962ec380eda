"""What the page about anchors shows in JavaScript: offsets, and how typography is mended."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import httpx
import pytest

from api import demo
from schemas.examples import ARTICLE_ID
from tests.conftest import KEY, PATIENCE, bearer
from tests.recipe import REPOSITORY
from tests.test_cli import address, url  # noqa: F401 - fixtures
from tests.test_lost_appearances import STRAIGHT
from tests.world import MERGE_PATCH

PAGE = (REPOSITORY / "docs/anchors.md").read_text()
OFFSETS, MENDING = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
TEXTS = (
    "",
    "plain",
    "🌊 a wave, 🇰🇷 a flag, 👩\u200d👧 a family",
    "e\u0301 \U0001d4b3 שלום \u202e العربية 𠜎",
    "\ue000\uffff\U00010000\U0010ffff end",
)


def run(program: str, *arguments: str) -> Any:
    """Run a program in Node, and read the JSON that it prints."""
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.outside
def test_offsets_are_converted_both_ways() -> None:
    program = f"""{OFFSETS}
        const found = JSON.parse(process.argv[1]).map((text) => {{
          const points = [...text];
          return points.map((_, start) => {{
            const from = toUtf16(text, start);
            const to = toUtf16(text, points.length);
            const words = wordsOf(text, {{ start, end: start + 1 }});
            return {{ back: spanOf(text, from, to), words }};
          }});
        }});
        console.log(JSON.stringify(found));"""
    found = run(program, json.dumps(TEXTS))
    for text, told in zip(TEXTS, found, strict=True):
        assert [each["words"] for each in told] == list(text)
        assert [each["back"] for each in told] == [
            {"start": start, "end": len(text), "exact": text[start:]} for start in range(len(text))
        ]


@pytest.mark.outside
def test_the_program_mends_what_typography_has_lost(address: str) -> None:  # noqa: F811
    with httpx.Client(base_url=address, headers=bearer(KEY), timeout=PATIENCE) as client:
        lines = {"content-type": "application/x-ndjson"}
        client.post("/v1/import?atomic=true", content=b"\n".join(demo.records()), headers=lines)
        article = client.get(f"/v1/articles/{ARTICLE_ID}").json()
        patch = {"text": article["text"].translate(STRAIGHT)}
        changed = client.patch(f"/v1/articles/{article['id']}", json=patch, headers=MERGE_PATCH)
        assert changed.status_code == 200, changed.text
        path = f"/v1/articles/{article['id']}/anchors"
        lost = len(client.get(path).json()["items"])
        program = f"""{MENDING}
            const [api, key, article] = process.argv.slice(1);
            console.log(JSON.stringify(await mendTypography(api, key, article)));"""
        (result,) = run(program, address, KEY, article["id"])
        assert (result["attached"], result["committed"]) == (lost, True)
        assert lost > 0
        assert client.get(path).json()["items"] == []


@pytest.mark.outside
def test_the_program_leaves_to_the_editor_what_stands_at_two_places(address: str) -> None:  # noqa: F811
    with httpx.Client(base_url=address, headers=bearer(KEY), timeout=PATIENCE) as client:
        text = "He said \u201cyes\u201d to it."
        article = client.post("/v1/articles", json={"text": text}).json()
        span = {"start": 8, "end": 13, "exact": text[8:13]}
        appearance = {"article_id": article["id"], "spans": [span]}
        claim = client.post("/v1/claims", json={"text": "Yes", "appearances": [appearance]})
        assert claim.status_code == 201, claim.text
        patch = {"text": f"{text.translate(STRAIGHT)} {text.translate(STRAIGHT)}"}
        address_of_it = f"/v1/articles/{article['id']}"
        assert client.patch(address_of_it, json=patch, headers=MERGE_PATCH).status_code == 200
        (lost,) = client.get(f"{address_of_it}/anchors").json()["items"]
        assert [each["score"] for each in lost["spans"][0]["suggestions"]] == [1, 1]
        program = f"""{MENDING}
            const [api, key, article] = process.argv.slice(1);
            console.log(JSON.stringify(await mendTypography(api, key, article)));"""
        assert run(program, address, KEY, article["id"]) == []
