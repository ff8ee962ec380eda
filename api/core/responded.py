"""Filters and a grouping by the responses to records: the denials that answer them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.core.filters import Among, Filter, Parameter, condition
from api.core.resource import Grouping
from schemas.vocabularies import Coverage, DenialFamily, DenialKind, RecordType, Vocabulary

# A standing response that the caller sees. Only with `deleted_at` can its indexes be used.
_IS_STANDING = "d.deleted_at IS NULL AND d.validity = 'standing' AND :sees(denial, d)"
_STANDING = f"""
    JOIN denials AS d ON d.id = l.owner_id AND {_IS_STANDING}"""
# Silence is no response.
_RESPONDING = tuple(each for each in DenialFamily if each is not DenialFamily.SILENT)
_ASKED: Final = {
    "response_family": "d.family",
    "response_kind": "d.kind",
    "response_coverage": "l.label",
}
"""What is compared with each parameter about one response."""


def _one_of(column: str, terms: Iterable[Vocabulary]) -> str:
    """Write that a column is one of some terms.

    They are constants and not parameters: there are few, and Postgres knows how many records have
    each, where a plan that it keeps for any of them would be wrong for most.
    """
    listed = ", ".join(f"'{each}'" for each in sorted(set(terms)))
    return f"{column} IN ({listed})"


def answered(record_type: RecordType) -> list[Filter]:
    """Declare the filters on the standing responses to records of a type."""
    noun = record_type.value

    def on_response(given: Mapping[str, Any]) -> Among:
        asked = [_one_of(column, [given[name]]) for name, column in _ASKED.items() if name in given]
        return _with_response(record_type, *asked)

    return [
        Filter(
            (
                Parameter(
                    "response_family",
                    DenialFamily,
                    f"The {noun} has a standing response of this family.",
                ),
                Parameter(
                    "response_kind",
                    DenialKind,
                    f"The {noun} has a standing response of this kind.",
                ),
                Parameter(
                    "response_coverage",
                    Coverage,
                    f"How clear it is that this response is aimed at the {noun}.",
                ),
            ),
            on_response,
            element="response",
        ),
        condition(
            "response_family__in",
            DenialFamily,
            lambda given: _with_response(
                record_type, _one_of("d.family", given["response_family__in"])
            ),
            f"The {noun} has a standing response of one of these families.",
            many=True,
        ),
        condition(
            "without_response_family",
            DenialFamily,
            lambda given: _without_response(
                record_type, _one_of("d.family", [given["without_response_family"]])
            ),
            f"The {noun} has no standing response of this family.",
        ),
        condition(
            "without_response_family__in",
            DenialFamily,
            lambda given: _without_response(
                record_type, _one_of("d.family", given["without_response_family__in"])
            ),
            f"The {noun} has no standing response of any of these families.",
            many=True,
        ),
        condition(
            "responded",
            bool,
            lambda given: (_with_response if given["responded"] else _without_response)(
                record_type, _one_of("d.family", _RESPONDING)
            ),
            f"`true`: the {noun} has a standing response that is not of the family `silent`."
            " `false`: it has none.",
        ),
    ]


def _with_response(record_type: RecordType, *asked: str) -> Among:
    of_denial = [each for each in asked if each.startswith("d.")]
    is_target = "l.owner_type = 'denial' AND l.link = 'target'"
    return Among(
        f"""SELECT l.{record_type}_id FROM links AS l{_STANDING}
    WHERE {is_target} AND l.{record_type}_id IS NOT NULL AND {" AND ".join(asked)}""",
        # In the order of their indexes: Postgres would read all denials for a family that none has.
        f"SELECT FROM denials AS d WHERE {_IS_STANDING} AND {' AND '.join(of_denial)}"
        " ORDER BY d.created_at, d.id"
        if of_denial
        else f"SELECT FROM links AS l WHERE {is_target} AND {' AND '.join(asked)}",
    )


def _without_response(record_type: RecordType, which: str) -> str:
    return f"""NOT EXISTS (
    SELECT FROM links AS l{_STANDING}
    WHERE l.{record_type}_id = t.id AND l.owner_type = 'denial' AND l.link = 'target'
        AND {which})"""


def grouped_by_response(record_type: RecordType) -> Grouping:
    """Declare the grouping by the families of the standing responses to a record."""
    return Grouping(
        "response_family",
        "the family of a standing response",
        f"""
        SELECT DISTINCT m.id, d.family AS value
        FROM {{matched}} AS m
        JOIN links AS l ON l.{record_type}_id = m.id AND l.owner_type = 'denial'
            AND l.link = 'target'{_STANDING}""",
    )
