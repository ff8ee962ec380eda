"""Sample records for `claim-records serve --demo`: two short news reports, coded in full."""

from collections.abc import Iterator
from importlib.resources import files


def records() -> Iterator[bytes]:
    """Yield the lines of `records.ndjson`, without line ends, in an order that can be imported.

    The reports and their newspapers are invented. The facts in them come from published reports of
    December 2024. The ids are fixed, so loading the lines twice changes nothing.
    """
    yield from (files(__name__) / "records.ndjson").read_bytes().splitlines()
