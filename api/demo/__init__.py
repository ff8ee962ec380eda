"""Sample records for `claim-records serve --demo`: one short news report, coded in full."""

from collections.abc import Iterator
from importlib.resources import files


def records() -> Iterator[bytes]:
    """Yield the import lines of `records.ndjson`, without line ends, in an order fit for loading.

    The report and its newspaper are invented; the facts in it are those of published reports of
    December 2024. Ids are fixed, so loading the lines twice changes nothing.
    """
    yield from (files(__name__) / "records.ndjson").read_bytes().splitlines()
