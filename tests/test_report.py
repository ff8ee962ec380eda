"""What a real report answers to an editor: export lines in a file whose text may not be copied.

Its records are called by their external ids: claims C01 to C38, denials D1 to D6.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import cloned, serving
from tests.test_lost_appearances import REPORT, load, report

pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(REPORT not in os.environ, reason="no report is named"),
]


class Asked:
    """A service with the report, which is asked and answers with names for ids."""

    def __init__(self, client: httpx.AsyncClient, article: str) -> None:
        self.client = client
        self.article = article
        self.ids: dict[str, str] = {}
        self.names: dict[str, str] = {}

    async def name(self) -> None:
        """Read the names of all records."""
        for plural in ("sources", "claims", "denials"):
            answer = await self.client.get(f"/v1/{plural}?limit=200")
            for record in answer.json()["items"]:
                (external,) = record["external_ids"]
                self.names[record["id"]] = external["value"]
        self.ids = {name: identity for identity, name in self.names.items()}

    async def ask(self, path: str) -> Any:
        """Ask; a name in the path stands behind `@`."""
        path = re.sub(r"@(\w+)", lambda found: self.ids[found[1]], path)
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return self.named(answer.json())

    def named(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.named(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.named(each) for each in value]
        return self.names.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
async def asked(template: str) -> AsyncIterator[Asked]:
    async with cloned(template) as url, serving(url) as client:
        found = Asked(client, await load(client, report()))
        await found.name()
        yield found


async def test_three_claims_of_a_report_have_one_origin(asked: Asked) -> None:
    """They say that the training is overseen, one of them in the headline, which names nobody."""
    for name in ("C01", "C05", "C12"):
        found = await asked.ask(f"/v1/claims/@{name}/origins")
        assert set(found["claims"]) == {"C01", "C05", "C12"}
        (origin,) = found["origins"]
        assert (origin["source_id"], set(origin["claim_ids"])) == ("nis", {"C05", "C12"})
        assert (found["count"], found["at_least"], found["unresolved"]) == (1, 1, ["C01"])


async def test_a_ministry_and_its_state_are_one_origin_if_rolled_up(asked: Asked) -> None:
    """They say that the alliance is normal."""
    for name in ("C03", "C22"):
        found = await asked.ask(f"/v1/claims/@{name}/origins")
        assert {each["source_id"] for each in found["origins"]} == {"nk", "nk_mfa"}
        assert (found["count"], found["at_least"]) == (2, 1)
        (uncertain,) = found["uncertain"]
        assert set(uncertain["source_ids"]) == {"nk", "nk_mfa"}
        assert uncertain["why"] == "parent"
        rolled_up = await asked.ask(f"/v1/claims/@{name}/origins?rollup=parent")
        assert [each["source_id"] for each in rolled_up["origins"]] == ["nk"]
        assert (rolled_up["count"], rolled_up["uncertain"]) == (1, [])


async def test_figures_of_a_report_have_the_bounds_that_are_printed(asked: Asked) -> None:
    bounds = {
        "killed": {"C07": (100, None), "C09": (100, None)},
        "killed_or_wounded": {"C31": (30, None)},
        "injured": {"C10": (None, 1_000)},
        "deployed": {"C13": (10_000, 12_000)},
        "casualties": dict.fromkeys(("C06", "C30", "C32"), (None, None)),
        "losses": {"C02": (None, None)},
    }
    everything = (await asked.ask("/v1/figures?limit=200"))["items"]
    for metric, its in bounds.items():
        found = (await asked.ask(f"/v1/figures?metric={metric}"))["items"]
        assert found == [each for each in everything if each["metric"] == metric]
        assert {
            each["record"]["id"]: (each["lower_bound"], each["upper_bound"]) for each in found
        } == its
        for each in found:
            numbers = re.findall(r"[\d,]+", each["printed"])
            printed = {int(number.replace(",", "")) for number in numbers}
            assert printed == {each["lower_bound"], each["upper_bound"]} - {None}
            assert (each["lower_open"], each["upper_open"]) == (False, False)
    assert {each["metric"] for each in everything} == bounds.keys()


async def test_conflicts_in_a_report_are_those_that_it_states(asked: Asked) -> None:
    found = (await asked.ask("/v1/figures?limit=200"))["items"]
    conflicts = {
        (item["record"]["id"], each["record"]["id"], each["basis"])
        for item in found
        for each in item["conflicts"]
    }
    stated = [("C31", "C07"), ("C31", "C32"), ("C10", "C32")]
    both_ways = [*stated, *((two, one) for one, two in stated)]
    assert conflicts == {(*pair, "stated") for pair in both_ways}


GROUPS = {
    "claims": {
        "claimant_id": {
            "lee": 6, "nk_mfa": 5, "us": 5, "zelensky": 5, "nine": 4, "nk": 3, "ukraine": 2,
            "intl": 1, "nis": 1, "pentagon": 1, "ua_allies": 1, "ua_and_allies": 1,
            "ua_mil_intel": 1, "us_official": 1,
        },
        "kind": {
            "quantity": 9, "event": 8, "accusation": 7, "evaluation": 4, "state_of_affairs": 4,
            "causal": 1, "investigation": 1, "media_content": 1, "position": 1, "prediction": 1,
            "speech_report": 1,
        },
        "response_family": {"silent": 9, "declines": 3, "deflects": 3},
    },
    "denials": {
        "kind": {
            "omission": 2, "counter_accusation": 1, "disputes_characterisation": 1,
            "justification": 1, "neither_confirms_nor_denies": 1,
        },
        "family": {"deflects": 3, "silent": 2, "declines": 1},
        "responder_id": {"nk_mfa": 4, "nk": 2, "russia": 1},
    },
}  # fmt: skip
NOBODY = {"claimant_id": 7, "response_family": 26}


@pytest.mark.parametrize(("plural", "total"), [("claims", 38), ("denials", 6)])
async def test_a_report_is_grouped(asked: Asked, plural: str, total: int) -> None:
    asked_for = GROUPS[plural]
    by = "&".join(f"by={name}" for name in asked_for)
    found = await asked.ask(f"/v1/{plural}/groups?limit=200&{by}")
    assert found["total"] == total
    assert found["groups"].keys() == asked_for.keys()
    for name, counts in asked_for.items():
        assert {each["value"]: each["count"] for each in found["groups"][name]} == counts
        assert found["none"][name] == NOBODY.get(name, 0)
        assert found["others"][name] == 0


async def test_two_responses_answer_an_accusation_in_a_report(asked: Asked) -> None:
    found = await asked.ask("/v1/claims/@C16/responses")
    assert found["thread"] == [
        {"denial_id": name, "answers": ["C16"], "depth": 1, "standing": True}
        for name in ("D1", "D2")
    ]
    history = {each["source_id"]: each["history"] for each in found["responders"]}
    assert history == {"nk": ["D1"], "russia": ["D1"], "nk_mfa": ["D2"]}
    assert found["asked_without_answer"] == []


async def test_the_claims_of_a_report_come_in_the_order_of_reading(asked: Asked) -> None:
    path = f"/v1/claims?article_id={asked.article}&sort=position&limit=200"
    found = [each["id"] for each in (await asked.ask(path))["items"]]
    # Their numbers go by it. Two begin at the same word, and are sorted by id.
    in_order = [f"C{number:02}" for number in range(1, 39)]
    in_order[18:20] = sorted(("C19", "C20"), key=asked.ids.__getitem__)
    assert found == in_order
