"""The one list of the record types, from which the rest of the service takes them."""

from __future__ import annotations

from typing import Final

from api.core.resource import Resource
from api.records.articles import ARTICLES, ArticleController
from api.records.claims import CLAIMS, ClaimController
from api.records.denials import DENIALS, DenialController
from api.records.sources import SOURCES, SourceController
from schemas.vocabularies import RecordType

CONTROLLERS: Final = (
    ArticleController,
    ClaimController,
    SourceController,
    DenialController,
)
"""The controllers, in the order of the paths in the OpenAPI document."""
RESOURCES: Final[dict[RecordType, Resource]] = {
    resource.type: resource for resource in (SOURCES, ARTICLES, CLAIMS, DENIALS)
}
"""The resources, in an order in which records can be written: those that others refer to first."""
