"""Texts as they are sent: leave out addresses, divide joined words, find figures and names."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ADDRESS: Final = re.compile(r"(?:https?://|www\.|pic\.twitter\.com/)\S+", re.IGNORECASE)
# How a post is embedded in a page: “words — Name (@handle) January 14, 2020”.
_SIGNATURE: Final = re.compile(
    r"\s[\u2014\u2013-]\s?([^\u2014\u2013\n]{1,80}?)\(@\w{1,40}\)(.{0,40})$"
)
_LONGEST_SIGNATURE: Final = 200
_TAG: Final = re.compile(r"[#@](\w+)")
# Where a word begins inside a tag: AustralianFires, Trump2020, WW2Veterans.
_INSIDE: Final = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[A-Z])|_")
_FIGURE: Final = re.compile(r"\d+(?:[.,\u00a0\u202f'\u2019]\d+)*")
_MARKS: Final = re.compile(r"[,\u00a0\u202f'\u2019]")
_NAME: Final = re.compile(r"[^\W\d_]+")
_WORDS: Final = re.compile(r"[^\W_]+")


def spoken(text: str) -> str:
    """Give the words of a text: without addresses of pages, and tags as the words they join."""
    text = _ADDRESS.sub(" ", text)
    return _TAG.sub(lambda tag: _INSIDE.sub(" ", tag[1]), text)


def signed(text: str) -> tuple[str, str, str]:
    """Divide a post: its words, who wrote them, and when. Who and when are empty without them."""
    text = text.rstrip()
    signature = _SIGNATURE.search(text, max(len(text) - _LONGEST_SIGNATURE, 0))
    if signature is None:
        return text, "", ""
    return text[: signature.start()], signature[1], signature[2]


def figures(text: str) -> list[str]:
    """List the figures in a text, each once, as they are printed."""
    return list(dict.fromkeys(_FIGURE.findall(text)))


def plain(figure: str) -> str:
    """Write a figure without the marks between its thousands."""
    return _MARKS.sub("", figure)


def capitalised(text: str) -> set[str]:
    """Give the words that begin with a capital letter, as they are printed.

    The first word of a sentence has one whatever it means, so it does not count.
    """
    found: set[str] = set()
    begins = True
    end = 0
    for word in _NAME.finditer(text):
        begins = begins or any(mark in ".!?:\n" for mark in text[end : word.start()])
        if word[0][0].isupper() and not begins:
            found.add(word[0])
        begins, end = False, word.end()
    return found


def folded(word: str) -> str:
    """Write a word in small letters without accents, about as the search does."""
    if word.isascii():
        return word.lower()
    letters = unicodedata.normalize("NFKD", word.lower())
    return "".join(each for each in letters if not unicodedata.combining(each))


def printed_words(text: str) -> dict[str, str]:
    """Give the words of a text as they are printed, by their folded form."""
    return {folded(word): word for word in reversed(_WORDS.findall(spoken(text)))}
