"""From a review to the assessment of its claim."""

from __future__ import annotations

import re
from typing import Final

from api.sync.importing.reviews.nodes import Node, Reader
from api.sync.importing.reviews.reading import MAX_LINE, MAX_TEXT, Json, read_names
from api.sync.importing.reviews.values import MAX_EXPRESSION, as_bound, as_number

_DIGITS: Final = re.compile(r"[+-]?[0-9.,]*[0-9]\Z")
"""A number, in whatever form."""


class Rating:
    """Reads the rating of a review, and notes its faults with the reader."""

    def __init__(self, reader: Reader, review: Node, url: str) -> None:
        """Take the review and its address."""
        self._reader = reader
        self._node = review
        self._url = url

    def assessment(self) -> Json:
        """Give the assessment, in the words and numbers of its scale."""
        assessor = self._joined_names("author") or self._joined_names("publisher")
        place = self._node.place("author")
        if assessor is None and not self._reader.has_refused(place):
            detail = "Say who has made the review, in `author` or `publisher`, with its `name`."
            self._reader.refuse(place, "required", detail)
        rating = self._rating()
        explanation = rating and self._reader.text(rating, "ratingExplanation", MAX_TEXT)
        label = (rating and self._label(rating)) or ""
        scheme = rating and self._reader.line(rating, "name", MAX_LINE)
        return {
            "assessor": assessor or "",
            "scheme": scheme if scheme and scheme != label else assessor or "",
            "label": label,
            **{
                name: rating and self._number(rating, term, label)
                for name, term in (
                    ("value", "ratingValue"),
                    ("best", "bestRating"),
                    ("worst", "worstRating"),
                )
            },
            "url": self._url,
            "published_at": self._published(),
            "explanation": explanation or self._reader.text(self._node, "reviewBody", MAX_TEXT),
        }

    def _rating(self) -> Node | None:
        """Give the rating; a text in its place is its label."""
        found = self._reader.nodes(self._node, "reviewRating", 2)
        place = self._node.place("reviewRating")
        if len(found) > 1:
            detail = "It must be one rating. Send the others as reviews of their own."
            self._reader.refuse(place, "invalid-value", detail)
        if not found:
            if not self._reader.has_refused(place):
                detail = "A review needs its rating: a label as `alternateName`, or `ratingValue`."
                self._reader.refuse(place, "required", detail)
            return None
        first = found[0]
        return first if isinstance(first, Node) else Node({"alternateName": first.value}, place)

    def _label(self, rating: Node) -> str | None:
        """Give the words of a rating, else its number as it is printed."""
        for name in ("alternateName", "name"):
            if label := self._reader.line(rating, name, MAX_LINE):
                return label
        for path, value in self._reader.values(rating, "ratingValue"):
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                if len(label := " ".join(str(value).split())) <= MAX_LINE:
                    return label
                self._reader.refuse(path, "invalid-value", f"At most {MAX_LINE} characters.")
        if not self._reader.has_refused(rating.path):
            detail = "A rating needs its label as `alternateName`, or its number as `ratingValue`."
            self._reader.refuse(rating.place("alternateName"), "required", detail)
        return None

    def _number(self, rating: Node, name: str, label: str) -> int | float | None:
        """Read a number of a scale; the words of the label are no number, and are no fault.

        Digits with a comma are no words: which number they are could only be guessed.
        """
        values = self._reader.values(rating, name)
        if len(values) > 1:
            self._reader.refuse(rating.place(name), "invalid-value", "It must be one number.")
        for path, value in values:
            number = as_number(value)
            if number is None and not self._is_label(value, label):
                detail = "It must be a number of at most 15 digits, such as `3` or `3.5`."
                self._reader.refuse(path, "invalid-value", detail)
            return number
        return None

    @staticmethod
    def _is_label(value: object, label: str) -> bool:
        if not isinstance(value, str) or _DIGITS.match(value.strip()):
            return False
        return " ".join(value.split()).casefold() == label.casefold()

    def _published(self) -> str | None:
        text = self._reader.line(self._node, "datePublished", MAX_EXPRESSION)
        bound = as_bound(text) if text is not None else None
        if text is not None and bound is None:
            detail = (
                "It must be a date, such as `2024-12-19`, or an instant, such as "
                "`2024-12-19T10:00:00Z`. Leave it out if it is not known."
            )
            self._reader.refuse(self._node.place("datePublished"), "invalid-value", detail)
        return bound

    def _joined_names(self, name: str) -> str | None:
        """Join the names of persons or bodies."""
        joined = ", ".join(dict.fromkeys(read_names(self._reader, self._node, name)))
        if len(joined) > MAX_LINE:
            detail = f"The names have at most {MAX_LINE} characters together."
            self._reader.refuse(self._node.place(name), "invalid-value", detail)
        return joined or None
