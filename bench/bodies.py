"""Measure how the time that it takes to read a hostile body grows with its size.

    python bench/bodies.py [--rounds 20]

Each body is read in four sizes, in alternating rounds; printed is the least processor time of each
and how many times that of the size before it is. Four times the size should take some four times
as long, and never sixteen times.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api.core.errors import Problem
from api.core.json_text import read_json

SIZES: Final = (1_500, 6_000, 24_000, 96_000)  # the largest is some 1 MB, which the limit is too


def hostile(size: int) -> dict[str, bytes]:
    """Write bodies of a size whose reading could take a time that grows with its square."""
    keys = b",".join(b'"%d":1' % n for n in range(size))
    return {
        "unfinished string": b"[" * 33 + b'"' + b'\\"' * size,
        "escapes without end": b'["' + b"\\\\" * size,
        "the last of many keys twice": b"{" + keys + b',"%d":1}' % (size - 1),
        "brackets": b"[" + b"[]," * size + b"1]",
        "unfinished brackets": b"[]" * size + b"[",
        "brackets in strings": b"[" + b'"[",' * size + b"1]",
        "blanks": b"[" * 33 + b" " * size,
        "digits": b"[" * 33 + b"1" * size,
        "long numbers": b"[" + (b"1" * 300 + b",") * (size // 300) + b"1]",
    }


def seconds(body: bytes) -> float:
    """Give the processor time that it takes to read a body once."""
    started = time.thread_time()
    with contextlib.suppress(Problem):
        read_json(body)
    return time.thread_time() - started


def main() -> None:
    """Measure each of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    gc.disable()
    for name in hostile(1):
        bodies = [hostile(size)[name] for size in SIZES]
        each = [[seconds(body) for body in bodies] for _ in range(rounds)]
        least = [min(times) for times in zip(*each, strict=True)]
        grown = [after / before for before, after in itertools.pairwise(least)]
        told = "  ".join(f"{1e6 * each:8.0f} µs" for each in least)
        print(f"{name:28}{told}   {', '.join(f'{each:.1f} times' for each in grown)}")


if __name__ == "__main__":
    main()
