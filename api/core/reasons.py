"""Say why a value is refused, in words that do not need msgspec or Python to be understood."""

from __future__ import annotations

import re
from typing import Final

_TYPE: Final = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`\Z")
_NUMBER: Final = re.compile(r"Expected `(?:int|float)` (?P<sign>[<>]=) (?P<bound>\S+)\Z")
_LENGTH: Final = re.compile(
    r"Expected `(?P<what>str|array|object)` of length (?P<sign>[<>]=) (?P<bound>\d+)\Z"
)
_SIGNS: Final = {"<=": "At most", ">=": "At least"}
_UNITS: Final = {
    "str": ("character", "characters"),
    "array": ("item", "items"),
    "object": ("property", "properties"),
}
_TYPES: Final = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def in_words(reason: str, form: str | None = None) -> str:
    """Put a message of msgspec into words; `form` describes a string of the type."""
    if match := _TYPE.match(reason):
        return f"It takes {_types(match['wanted'])}, not {_types(match['got'])}."
    if form is not None and reason.startswith("Expected `str`"):
        return f"It takes {form}."
    if match := _NUMBER.match(reason):
        return f"{_SIGNS[match['sign']]} {match['bound'].removesuffix('.0')}."
    if match := _LENGTH.match(reason):
        return f"{_SIGNS[match['sign']]} {_counted(int(match['bound']), _UNITS[match['what']])}."
    return f"{reason}."


def _types(names: str) -> str:
    """Name JSON types; a number is an integer or not."""
    known = names.removeprefix("int | ") if "float" in names else names
    return " or ".join(_TYPES.get(name, name) for name in known.split(" | "))


def _counted(number: int, units: tuple[str, str]) -> str:
    one, many = units
    return f"1 {one}" if number == 1 else f"{number:,} {many}"
