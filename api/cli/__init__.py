"""The command `claim-records`.

Each command loads what it needs when it runs, so that `--help` and `mirror` do not wait for the
whole service to load.
"""

from api.cli.command import main

__all__ = ["main"]
