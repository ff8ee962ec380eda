"""Soak by hand: `python -m tests.soak --seconds 600`, and read the table."""

from __future__ import annotations

import argparse
import sys

from tests.soak.conductor import Plan, run


def main() -> int:
    """Soak, print what came of it, and fail where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Plan()
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--crashes", type=int, default=default.crashes)
    parser.add_argument("--pause", type=float, default=default.pause, help="of a writer, seconds")
    parser.add_argument("--seed", type=int, default=default.seed)
    report = run(Plan(**vars(parser.parse_args())))
    sys.stdout.write(report.table() + "\n")
    return bool(report.faults)


if __name__ == "__main__":
    sys.exit(main())
