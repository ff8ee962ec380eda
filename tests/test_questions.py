"""The questions of a newsroom (`docs/questions.md`): each is answered as the page says."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.conftest import cloned, serving
from tests.recipe import REPOSITORY
from tests.test_demo import load

PAGE: Final = REPOSITORY / "docs/questions.md"
REST: Final = "…"
"""It ends a shortened text, and stands for the rest of a list."""


class Question(NamedTuple):
    """A question, the path to ask for, and the answer as it is printed."""

    title: str
    path: str
    answer: Any


def questions() -> list[Question]:
    """Read the questions of the page."""
    found = []
    for part in re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        title, _, told = part.partition("\n")
        (path,) = re.findall(r"^ask '(.*)'$", told, re.MULTILINE)
        (answer,) = re.findall(r"^```json\n(.*?)^```$", told, re.MULTILINE | re.DOTALL)
        found.append(Question(title, path, json.loads(answer)))
    return found


def differences(printed: Any, answered: Any, place: str = "") -> list[str]:
    """Say where an answer is not as it is printed; the page may leave out properties."""
    if isinstance(printed, dict) and isinstance(answered, dict):
        whole = {key: _named(key, answered) for key in printed}
        return [
            each
            for key, value in printed.items()
            for each in (
                differences(value, answered[whole[key]], f"{place}/{key}")
                if whole[key] in answered
                else [f"{place}/{key} is not there"]
            )
        ]
    if isinstance(printed, list) and isinstance(answered, list):
        shown = printed[:-1] if printed[-1:] == [REST] else printed
        if len(shown) > len(answered) or (shown is printed and len(shown) < len(answered)):
            return [f"{place} has {len(answered)} items"]
        pairs = zip(shown, answered, strict=False)
        return [
            each
            for number, (one, other) in enumerate(pairs)
            for each in differences(one, other, f"{place}/{number}")
        ]
    same = _begins(printed, answered) if isinstance(printed, str) else printed == answered
    return [] if same else [f"{place} is {answered!r}"]


def _named(key: str, answered: dict[str, Any]) -> str:
    """Give the whole key that a printed one stands for."""
    return next((each for each in answered if _begins(key, each)), key)


def _begins(printed: str, answered: object) -> bool:
    if printed.endswith(REST) and isinstance(answered, str):
        return answered.startswith(printed.removesuffix(REST))
    return printed == answered


@pytest.fixture(scope="module")
async def demo(template: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run a service as `serve --demo` does; ask it without a key."""
    async with cloned(template) as url, serving(url) as client:
        await load(client, atomic="true")
        del client.headers["authorization"]
        yield client


@pytest.mark.parametrize("question", questions(), ids=lambda question: question.title)
async def test_a_question_is_answered_as_the_page_says(
    demo: httpx.AsyncClient, question: Question
) -> None:
    answer = await demo.get(question.path)
    assert answer.status_code == 200, answer.text
    assert differences(question.answer, answer.json()) == []


def test_there_are_twenty_four_questions() -> None:
    numbers = [question.title.partition(".")[0] for question in questions()]
    assert numbers == [str(number) for number in range(1, 25)]


@pytest.mark.parametrize(
    ("printed", "place"),
    [
        ({"b": 1}, "/b is not there"),
        ({"a": 2}, "/a is 1"),
        ({"list": ["one"]}, "/list has 2 items"),
        ({"list": ["one", "two", "three", REST]}, "/list has 2 items"),
        ({"list": ["o", REST]}, "/list/0 is 'one'"),
        ({"text": "lon"}, "/text is 'long'"),
        ({"text": "lon…", "list": ["one", REST], "te…": "long"}, None),
    ],
)
def test_a_difference_is_found(printed: Any, place: str | None) -> None:
    """Else the test above would say nothing."""
    answered = {"a": 1, "list": ["one", "two"], "text": "long"}
    assert differences(printed, answered) == ([place] if place else [])
