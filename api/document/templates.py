"""The document's templates: OpenAPI in YAML, with `<name>` where a value goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec

Json = dict[str, Any]

_FILES: Final = resources.files("openapi") / "templates"
_PLACE: Final = re.compile(r"<([\w-]+)>")


@cache
def read(name: str) -> Any:  # noqa: ANN401 - YAML
    """Read a template. Do not change it: it is read once."""
    return msgspec.yaml.decode((_FILES / f"{name}.yaml").read_bytes())


def fill(template: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Put values into a template.

    A string that is a single `<name>` becomes the value itself, of any type. The key `$merge` adds
    the keys of an object; if the template has a description before it, the two are joined.
    """
    if isinstance(template, str):
        place = _PLACE.fullmatch(template)
        if place:
            return values[place[1]]
        return _PLACE.sub(lambda found: str(values[found[1]]), template)
    if isinstance(template, list):
        return [fill(item, values) for item in template]
    if not isinstance(template, dict):
        return template
    filled: Json = {}
    for name, item in template.items():
        value = fill(item, values)
        if name != "$merge":
            filled[fill(name, values)] = value
        elif "description" in filled:
            filled |= value | {"description": f"{filled['description']} {value['description']}"}
        else:
            filled |= value
    return filled
