"""Measure at several sizes, each of which the records of the one before are a part of.

A measurement has a Postgres of its own, which is gone when it ends.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from api.embedded import EmbeddedPostgres


def parser(name: str, description: str | None, records: str, sizes: str) -> argparse.ArgumentParser:
    """Make the parser of a measurement: how many records there are, with commas, and where."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(f"--{records}", dest="sizes", type=_sizes, default=sizes)
    made.add_argument("--data", type=Path, default=Path(__file__).parent / "data" / name)
    return made


def _sizes(text: str) -> list[int]:
    return sorted(int(each) for each in text.split(","))


@contextmanager
def empty_postgres(data: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """Start a Postgres in a directory that is removed before and afterwards; gives its URL."""
    shutil.rmtree(data, ignore_errors=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    try:
        with EmbeddedPostgres(data, fsync=False, settings=settings) as server:
            yield server.url()
    finally:
        shutil.rmtree(data, ignore_errors=True)


async def grow(
    sizes: Sequence[int],
    fill: Callable[[int, int], Awaitable[None]],
    measure: Callable[[int], Awaitable[str]],
) -> None:
    """Fill from each size to the next one, and print what is measured there."""
    there = 0
    for size in sizes:
        await fill(there, size)
        there = size
        print(await measure(size), flush=True)
