"""Write the Markdown of this repository's own texts as HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

_NO_WORD: Final = re.compile(r"[^a-z0-9]+")


def to_html(text: str, place: str | None = None) -> str:
    """Write a text as HTML; with `place`, each chapter has its address below it as its id."""
    parser = _parser()
    tokens = parser.parse(text)
    if place is not None:
        for heading, title in _chapters(tokens):
            heading.attrSet("id", f"{place}/{slug(title)}")
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html


def chapters(text: str) -> list[str]:
    """List the titles of a text's chapters, which begin with `##`."""
    return [title for _, title in _chapters(_parser().parse(text))]


def slug(title: str) -> str:
    """Write a title as a part of an address; api/site/assets/search.js does the same."""
    return _NO_WORD.sub("-", title.lower())


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _chapters(tokens: list[Token]) -> list[tuple[Token, str]]:
    return [
        (token, tokens[index + 1].content)
        for index, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]
