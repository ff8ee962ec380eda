"""Write claims as HTML: their words as printed, the chain of their sources, and the answers.

The content of a record enters the page as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from msgspec import Struct

from api.records.relocation import CONTEXT
from schemas.vocabularies import DenialFamily

Record = Mapping[str, Any]

_FAMILIES: Final = {
    DenialFamily.DENIES: "Denied",
    DenialFamily.DEFLECTS: "Deflected",
    DenialFamily.DECLINES: "Left open",
    DenialFamily.SILENT: "Not answered",
    DenialFamily.CONCEDES: "Conceded",
    DenialFamily.UNSPECIFIED: "Answered",
}
_MAX_ANSWERS: Final = 2
_ELLIPSIS: Final = "…"


class Printed(Struct, frozen=True):
    """The article in which a claim is printed."""

    headline: str
    publisher: str | None
    published: str | None


class Shown(Struct, frozen=True):
    """A claim with everything that the page shows of it: its sources by id, and its responses."""

    claim: Record
    sources: Mapping[str, Record]
    denials: list[Record]

    @property
    def richness(self) -> tuple[bool, int, int]:
        """Rank how much of the data model the claim shows: an answer, hops, a figure."""
        hops = {each["position"] for each in self.claim["attributions"] if each["source_id"]}
        return bool(self.denials), len(hops), len(self.claim["quantities"])


def page_of(page: Record) -> list[Shown]:
    """Split a page of claims that was read with its sources and denials."""
    included = page["included"]
    standing = [d for d in included["denials"].values() if d["validity"] == "standing"]
    return [
        Shown(
            claim,
            included["sources"],
            [d for d in standing if any(t["claim_id"] == claim["id"] for t in d["targets"])],
        )
        for claim in page["items"]
    ]


def in_full(shown: Shown, printed: Printed | None, *, linked: bool = True) -> str:
    """Write one claim in full: its words, and the chain from the article to the origin."""
    steps = [
        *_printed(shown.claim, printed),
        *_chain(shown),
        *(_answer(denial, shown.sources) for denial in shown.denials[:_MAX_ANSWERS]),
    ]
    more = len(shown.denials) - _MAX_ANSWERS
    if more > 0:
        steps.append(_step("And", f"{more} more {'answer' if more == 1 else 'answers'}", "answer"))
    words = _words(shown.claim, linked=linked)
    return f"<blockquote{_language(shown.claim)}>{words}</blockquote>\n<ol>{''.join(steps)}</ol>"


def in_short(shown: Iterable[Shown]) -> str:
    """Write claims as a list: the words, the credited sources, and the answers."""
    return f'<ul class="claims">{"".join(map(_item, shown))}</ul>'


def _item(shown: Shown) -> str:
    answers = "".join(
        f'<p class="answered" dir="auto"><span class="family">{role}</span> {response}</p>'
        for role, response in (
            _response(denial, shown.sources) for denial in shown.denials[:_MAX_ANSWERS]
        )
    )
    return (
        f'<li><p class="words"{_language(shown.claim)}>{_words(shown.claim, linked=True)}</p>'
        f'<p class="who" dir="auto">{_credited(shown)}</p>{answers}</li>'
    )


def _words(claim: Record, *, linked: bool) -> str:
    text = escape(claim["text"])
    return f'<a href="/explore/claims/{escape(claim["id"])}">{text}</a>' if linked else text


def _language(record: Record) -> str:
    """Write the HTML attributes for the language and direction of a record's words."""
    language = record["language"]
    return ' dir="auto"' + ("" if language == "und" else f' lang="{escape(language)}"')


def _step(role: str, text: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<li{kind}><span class="role">{role}</span> {text}</li>'


# --- where it is printed ---------------------------------------------------------------------


def _printed(claim: Record, printed: Printed | None) -> Iterable[str]:
    words = _as_printed(claim)
    if printed is None:
        return [_step("As printed", words)] if words else []
    known = [escape(part) for part in (printed.publisher, printed.published) if part]
    place = ", ".join([f"“{escape(printed.headline)}”", *known])
    return [_step("Printed in", f'<span dir="auto">{place}</span>{words}')]


def _as_printed(claim: Record) -> str:
    """Write the words of the claim's first content span, marked, between those around them."""
    spans = (span for appearance in claim["appearances"] for span in appearance["spans"])
    span = next((span for span in spans if span["role"] == "content"), None)
    if span is None:
        return ""
    before = (span["prefix"] or "").rpartition("\n")[2]
    after = (span["suffix"] or "").partition("\n")[0]
    if len(before) == CONTEXT:  # it may begin within a word
        before = _ELLIPSIS + before.partition(" ")[2]
    if len(after) == CONTEXT:
        after = after.rpartition(" ")[0] + _ELLIPSIS
    marked = f"{escape(before)}<mark>{escape(span['exact'])}</mark>{escape(after)}"
    return f'<q class="printed" dir="auto">{marked}</q>'


# --- who is credited -------------------------------------------------------------------------


def _chain(shown: Shown) -> Iterable[str]:
    hops = _hops(shown)
    if not hops:
        return [_step("Claimed by", "nobody who is credited with it")]
    roles = ["Claimed by", *["Citing"] * len(hops)]
    stated = shown.claim["stated"]
    when = (
        f', <span class="when">{escape(stated["expression"])}</span>'
        if stated and stated["expression"]
        else ""
    )
    return [
        _step(role, f'<span dir="auto">{hop}{"" if index else when}</span>')
        for index, (role, hop) in enumerate(zip(roles, hops, strict=False))
    ]


def _credited(shown: Shown) -> str:
    hops = _hops(shown)
    return f"Claimed by {', citing '.join(hops)}" if hops else "Nobody is credited with it"


def _hops(shown: Shown) -> list[str]:
    """Write each hop, nearest the reader first; sources at one position are joined by “and”."""
    hops: dict[int, list[str]] = {}
    for attribution in sorted(shown.claim["attributions"], key=lambda each: each["position"]):
        if credit := _credit(attribution, shown.sources):
            hops.setdefault(attribution["position"], []).append(credit)
    return [" and ".join(hop) for hop in hops.values()]


def _credit(attribution: Record, sources: Mapping[str, Record]) -> str | None:
    """Write one attribution: the source, how sure it is, and the vehicle; None if it has none."""
    identity, via = attribution["source_id"], attribution["via_id"]
    if identity:
        words = _name(identity, attribution["printed"], sources)
        if attribution["resolution"] != "certain":
            words += f" ({escape(attribution['resolution'])})"
    elif attribution["role"] == "author_voice":
        words = "the article itself"
    elif attribution["printed"] or via:
        words = escape(attribution["printed"] or "nobody named")
    else:
        return None
    return words + (f", via {_name(via, None, sources)}" if via else "")


def _name(identity: str, printed: str | None, sources: Mapping[str, Record]) -> str:
    """Name a source: by its name, else by its description, else by the printed words."""
    source = sources.get(identity, {})
    named = source.get("name") or source.get("description") or printed or "a source not shown"
    return escape(named)


# --- how it was answered ---------------------------------------------------------------------


def _answer(denial: Record, sources: Mapping[str, Record]) -> str:
    return _step(*_response(denial, sources), "answer")


def _response(denial: Record, sources: Mapping[str, Record]) -> tuple[str, str]:
    """Write how a claim was answered and, if somebody is credited with the answer, by whom."""
    credited = [c for each in denial["attributions"] if (c := _credit(each, sources))]
    family = _FAMILIES[denial["family"]]
    role, named = (f"{family} by", f"{' and '.join(credited)}: ") if credited else (family, "")
    target, language = escape(denial["id"]), _language(denial)
    link = f'<a href="/explore/denials/{target}"{language}>{escape(denial["text"])}</a>'
    return role, f'<span dir="auto">{named}{link}</span>'
