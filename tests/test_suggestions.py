"""Where lost words may stand: each kind of suggestion, folded typography, and what it costs."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.edit_distance import best_place, distance
from api.questions import suggestions
from api.questions.folding import FoldedText, fold
from api.questions.suggestions import SearchedText, Work, context_of, lost_of, suggest
from schemas.anchors import MAX_SUGGESTIONS, Suggestion

REPORT = (
    "SEOUL 🇰🇷 — The MP said at least 100 soldiers had been killed. "
    "“It was a heavy loss,” he said. The ministry would not comment on the figures."
)


def find(old: str, words: str, new: str, work: Work | None = None) -> list[Suggestion]:
    """Lose words of an old text, and look for them in a new one."""
    start = old.index(words)
    around = context_of(old, start, start + len(words))
    return suggest(lost_of(words, start, around), SearchedText(new), work or Work())


def told(found: list[Suggestion], text: str) -> list[tuple[str, str]]:
    for each in found:
        assert text[each.start : each.end] == each.exact
        assert 0 <= each.score <= 1
    return [(each.exact, each.why) for each in found]


MINISTRY = "The ministry would not comment"
QUOTE = "“It was a heavy loss,”"
STRAIGHT = {0x201C: '"', 0x201D: '"'}


@pytest.mark.parametrize(
    ("words", "new", "exact", "why"),
    [
        ("at least 100", REPORT.replace("100", "200"), "at least 200", "similar"),
        ("at least 100", REPORT.replace("at least 100", "over 100"), "over 100", "similar"),
        ("100", REPORT.replace("100", "200"), "200", "similar"),
        ("100", REPORT.replace("100", "dozens of"), "dozens of", "similar"),
        (QUOTE, REPORT.translate(STRAIGHT), QUOTE.translate(STRAIGHT), "typography"),
        (MINISTRY, REPORT.replace("not ", "n't "), "The ministry would n't comment", "similar"),
        (MINISTRY, f"{REPORT[:60]}. {MINISTRY}!", MINISTRY, "same_words"),
        ("had been killed", REPORT.upper(), "HAD BEEN KILLED", "typography"),
    ],
    ids=[
        "a figure",
        "shorter words",
        "one number",
        "others between the same text",
        "quotes",
        "an apostrophe",
        "moved among others",
        "capitals",
    ],
)
def test_lost_words_are_suggested(words: str, new: str, exact: str, why: str) -> None:
    assert told(find(REPORT, words, new), new)[0] == (exact, why)


def test_words_that_are_gone_are_not_suggested() -> None:
    assert find(REPORT, "at least 100 soldiers", "Nothing of the kind was ever reported.") == []
    assert find(REPORT, "100", "") == []


@pytest.mark.parametrize("words", ["Lee", "one hundred soldiers"])
def test_the_place_among_the_same_text_comes_first(words: str) -> None:
    old = f"First {words} left. Then, it is said, {words} died on Monday. At last {words} came."
    start = old.index(words, 20)
    around = context_of(old, start, start + len(words))
    new = f"{words}, {words}. {old} {words}"
    best, *others = suggest(lost_of(words, start, around), SearchedText(new), Work())
    assert best.start == new.index("said, ") + len("said, ")
    assert best.score == 1 > others[0].score
    assert len(others) == 5
    assert {each.why for each in (best, *others)} == {"one_of_several"}


def test_no_score_is_rounded_up_to_that_of_the_same_words() -> None:
    """Else a program that takes what has only other typography takes a changed figure, too."""
    words = f"{REPORT} " * 40 + "100"
    best, *_ = find(f"{words} died.", words, f"{words[:-3]}200 died.")
    assert best.why == "similar"
    assert 0.999 <= best.score < 1


@pytest.mark.parametrize(("new", "why"), [("", "same_words"), (" Or 21001.", "one_of_several")])
def test_unchanged_words_within_a_word_are_not_merely_similar(new: str, why: str) -> None:
    old = "There were 41002 soldiers in Kursk."
    found = find(old, "100", f"In all, {old.lower()}{new}")
    assert {each.why for each in found if each.exact == "100"} == {why}


def test_whole_words_come_before_parts_of_words() -> None:
    new = "Of the 1000 soldiers, 100 were killed."
    assert [each.start for each in find("There were 100.", "100", new)] == [22, 7]


# --- typography ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("“a” ‘b’", "\"a\" 'b'"),  # noqa: RUF001
        ("«a»", "„a“"),
        ("a – b — c", "a - b -- c"),  # noqa: RUF001
        ("10\u00a0000\u2009km", "10 000 km"),
        ("a  b\r\n\tc", "a b c"),
        ("ﬁnal ﬂight", "final flight"),
        ("wait…", "wait..."),
        ("cafe\u0301", "café"),
        ("ＡＢＣ１２", "abc12"),  # noqa: RUF001
        ("co\u00adoperate\u200b", "cooperate"),
        ("\u200f\u05e9\u05dc\u05d5\u05dd\u200e", "\u05e9\u05dc\u05d5\u05dd"),
        ("ΣΑΣ", "σας"),
        ("İstanbul", "istanbul"),
        ("한\u1100\u1161", "한가"),
        ("№ 1", "No 1"),
        ("ห\u0e4dา", "ห\u0e33"),
    ],
)
def test_typography_makes_no_difference(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("a.b", "ab"), ("résumé", "resume"), ("100", "1 00")])
def test_other_differences_do(one: str, other: str) -> None:
    assert fold(one) != fold(other)


# Letters that compose, ligatures, emoji, marks of direction, and spaces of all kinds.
ODD = st.text('aA e\u0301é“"—-ﬁ\u200b\u00ad\u00a0\n…İΣ한ᄀ\u1161👩\u200d🇰שא', max_size=60)


@given(ODD, st.data())
def test_a_part_of_a_folded_text_knows_where_it_stands(text: str, data: st.DataObject) -> None:
    """Each part stands for real characters in order, and the whole for all that can be seen."""
    folded = FoldedText(text)
    end = 0
    for place in range(len(folded.text)):
        low, high = folded.real(place, place + 1)
        assert 0 <= low < high <= len(text)
        assert low >= end or folded.real(place - 1, place) == (low, high)
        assert folded.position(low) <= place
        end = high
    start = data.draw(st.integers(0, max(len(text) - 1, 0)))
    assert 0 <= folded.position(start) <= len(folded.text)


@given(ODD, ODD, ODD)
def test_words_retyped_are_found_where_they_are(before: str, words: str, behind: str) -> None:
    """Whatever was retyped by Unicode's own rule stands at its exact code points."""
    retyped = unicodedata.normalize("NFC", words)
    if not fold(words).strip() or words == retyped:
        return
    new = f"{before} | {retyped} | {behind}"
    found = find(f"{before} | {words} | {behind}", f"| {words} |", new)
    assert any(new[each.start : each.end] == f"| {retyped} |" for each in found)


# --- edit distance -------------------------------------------------------------------------------


def levenshtein(words: str, others: str) -> int:
    """Count by the table that everybody knows."""
    row = list(range(len(others) + 1))
    for number, mine in enumerate(words, 1):
        above, row = row, [number]
        for place, theirs in enumerate(others, 1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (mine != theirs)))
    return row[-1]


@given(st.text("abc", max_size=80), st.text("abc", max_size=80))
def test_the_distance_is_that_of_levenshtein(words: str, others: str) -> None:
    assert distance(words, others) == levenshtein(words, others)


@given(st.text("ab", min_size=1, max_size=8), st.text("ab", min_size=1, max_size=16))
def test_the_best_place_is_as_like_as_any(words: str, text: str) -> None:
    start, end = best_place(words, text, 0)
    parts = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    assert levenshtein(words, text[start:end]) == min(levenshtein(words, part) for part in parts)


# --- what it costs -------------------------------------------------------------------------------


class Counted(Work):
    """Counts the steps that are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    def take(self, steps: int) -> None:
        super().take(steps)
        self.taken += steps


LONG = 20_000


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("a" * 20, "a" * 100_000),
        ("a" * LONG, "a" * 100_000),
        ("a" * (LONG // 2) + "b" + "a" * (LONG // 2 - 1), "a" * 100_000),
        ("b" + "a" * (LONG - 1), "a" * 29_000),
        ("a" * (LONG // 2) + "b" + "a" * (LONG // 2 - 1), "a" * 29_000),
        ("ab" * 200, "ba" * 49_000 + "c"),
        ("e\u0301" * 50, "é" * 100_000),
        ("\u0301" * 100, "e" + "\u0301" * 100_000),
        ("😀" * 30, "😀👩\u200d👧" * 20_000),
        ("\u05e9\u05dc\u05d5\u05dd \u05d0", "\u202e\u05e9\u05dc\u05d5\u05dd\u05d0\u202c" * 8_000),
        (" " * 50, "\u00a0 " * 50_000),
        ("of the war", "of the " * 15_000),
        ("\u200b" * 20, "\u200d\u200b" * 50_000),
    ],
)
def test_hostile_texts_cost_a_bounded_number_of_steps(words: str, text: str) -> None:
    work = Counted()
    found = suggest(lost_of(words, 50_000, ("x" * 32, "y" * 32)), SearchedText(text), work)
    told(found, text)
    assert len(found) <= MAX_SUGGESTIONS
    most = max(3 * len(words), suggestions.MAX_SUGGESTED)
    assert sum(len(each.exact) for each in found) <= 4 * most
    assert work.taken < 2 * suggestions.MAX_STEPS


def test_no_step_is_taken_when_none_is_left() -> None:
    work = Counted()
    work.take(suggestions.MAX_STEPS)
    assert suggest(lost_of("Lee", 0, ("", "")), SearchedText("Lee said"), work) == []
    assert work.taken < suggestions.MAX_STEPS + 100
