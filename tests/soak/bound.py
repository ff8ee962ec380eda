"""Processes that end with the one that started them, however that ends.

`python -m tests.soak.bound serve --port 0` is `claim-records serve --port 0`, bound.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def bind() -> None:
    """Have the kernel end this process with its parent; exec keeps it so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def main() -> None:
    """Become the command."""
    bind()
    command = [sys.executable, "-W", "error", "-m", "api.cli", *sys.argv[1:]]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
