"""Memory: what a large answer has freed serves the next one."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Final

import pytest

PAGES: Final = 10_000_000 // 4_096
ANSWERS: Final = """
import resource, sys
from api.server.memory import keep_freed_memory
{call}
def answer():
    return [bytearray(200_000) for _ in range(40)], b"x" * 2_000_000
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    answer()
before = faults()
for _ in range(20):
    answer()
print((faults() - before) // 20)
"""


def faults(call: str) -> int:
    """Count the pages of memory that an answer takes anew from the kernel."""
    script = ANSWERS.format(call=call)
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries do without it")
def test_a_large_answer_takes_no_new_memory_from_the_kernel() -> None:
    assert faults("") > PAGES / 2
    assert faults("keep_freed_memory()") < PAGES / 10
