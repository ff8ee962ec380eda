"""The SQL of filters: it has what is asked for, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api.core.caller import READER
from api.core.filters import Filter, conditions
from api.core.resource import Resource
from api.core.sql import rendered
from api.document.examples import of_parameter
from api.records.nouns import RESOURCES
from schemas.shapes import shape


def _asked(resource: Resource, declared: Filter) -> Iterator[dict[str, Any]]:
    """Give values of each parameter by itself, with the one that it needs, and of all."""
    values: dict[str, Any] = {}
    for parameter in declared.parameters:
        example = of_parameter(parameter, resource.type)
        if shape(parameter.type).kind is bool:
            example = True
        elif parameter.many and not isinstance(example, list):
            example = [example]
        values[parameter.name] = example
        yield {name: values[name] for name in (declared.needs, parameter.name) if name in values}
    yield values


@pytest.mark.parametrize(
    ("resource", "declared"),
    [(resource, each) for resource in RESOURCES.values() for each in resource.all_filters],
    ids=[
        f"{resource.plural}-{each.parameters[0].name}"
        for resource in RESOURCES.values()
        for each in resource.all_filters
    ],
)
def test_what_is_not_asked_stands_in_no_condition(resource: Resource, declared: Filter) -> None:
    """Else Postgres keeps a plan for whatever might be asked, which is good for nothing."""
    for given in _asked(resource, declared):
        (text,), values = conditions([declared], given)
        assert "IS NULL OR" not in text
        assert set(rendered(text, READER).names) == values.keys() <= given.keys()
