"""References to records of which there are several types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from schemas.base import Fault, Part
from schemas.scalars import Id
from schemas.vocabularies import RecordType


class RecordReference(Part, kw_only=True):
    """A claim or a denial, by its id."""

    type: Annotated[RecordType, Meta(description="The type of the record: `claim` or `denial`.")]
    id: Annotated[Id, Meta(description="The id of the record.")]

    def faults(self) -> Iterator[Fault]:
        """Refuse records of other types, which have neither figures nor appearances."""
        if self.type not in (RecordType.CLAIM, RecordType.DENIAL):
            detail = "Only claims and denials have appearances."
            yield Fault(("type",), "not-allowed", detail)
