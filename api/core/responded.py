"""Filters and a grouping by the responses to records: the denials that answer them."""

from __future__ import annotations

from api.core.filters import Filter, Parameter, condition
from api.core.resource import Grouping
from schemas.vocabularies import Coverage, DenialFamily, DenialKind, RecordType

# A standing response that the caller sees. Only with `deleted_at` can its indexes be used.
_STANDING = """
    JOIN denials AS d ON d.id = l.owner_id AND d.deleted_at IS NULL AND d.validity = 'standing'
        AND :sees(denial, d)"""
# Silence is no response. The others are listed: an index can find terms, but not exclude one.
_FAMILIES = ", ".join(f"'{each}'" for each in DenialFamily if each is not DenialFamily.SILENT)
_RESPONDED = f"d.family IN ({_FAMILIES})"


def answered(record_type: RecordType) -> list[Filter]:
    """Declare the filters on the standing responses to records of a type."""
    noun = record_type.value
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
            _with_response(
                record_type,
                "(:response_family::text IS NULL OR d.family = :response_family)"
                " AND (:response_kind::text IS NULL OR d.kind = :response_kind)"
                " AND (:response_coverage::text IS NULL OR l.label = :response_coverage)",
            ),
            element="response",
        ),
        condition(
            "response_family__in",
            DenialFamily,
            _with_response(record_type, "d.family = ANY(:response_family__in::text[])"),
            f"The {noun} has a standing response of one of these families.",
            many=True,
        ),
        condition(
            "without_response_family",
            DenialFamily,
            _without_response(record_type, "d.family = :without_response_family::text"),
            f"The {noun} has no standing response of this family.",
        ),
        condition(
            "without_response_family__in",
            DenialFamily,
            _without_response(record_type, "d.family = ANY(:without_response_family__in::text[])"),
            f"The {noun} has no standing response of any of these families.",
            many=True,
        ),
        # One condition for both values would have Postgres read all records for either of them.
        Filter(
            (
                Parameter(
                    "responded",
                    bool,
                    f"`true`: the {noun} has a standing response that is not of the family"
                    " `silent`. `false`: it has none.",
                ),
            ),
            f":responded::boolean AND {_with_response(record_type, _RESPONDED)}",
            when_false=f"NOT :responded::boolean AND {_without_response(record_type, _RESPONDED)}",
        ),
    ]


def _with_response(record_type: RecordType, which: str) -> str:
    return f"""t.id IN (
    SELECT l.{record_type}_id FROM links AS l{_STANDING}
    WHERE l.owner_type = 'denial' AND l.link = 'target' AND l.{record_type}_id IS NOT NULL
        AND {which})"""


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
