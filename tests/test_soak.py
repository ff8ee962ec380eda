"""That the change feed loses nothing, whatever is killed. Run it with `pytest -m soak`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak.conductor import LEAST_COPIES, Plan, bootstrap, run

pytestmark = pytest.mark.soak


def test_nobody_misses_a_change_or_gets_one_twice_whatever_is_killed(
    record_property: Callable[[str, object], None],
) -> None:
    plan = Plan(seconds=60, crashes=3)
    assert plan.writers * (plan.sql_processes + plan.api_processes) >= 16
    report = run(plan)
    record_property("soak", report.table())
    assert not report.faults, report.table()
    assert report.counts["crashes of Postgres"] == plan.crashes
    for happened in (
        "rollbacks",
        "savepoints rolled back",
        "held open",
        "service processes killed",
    ):
        assert report.counts[happened], report.table()


def test_an_export_and_the_feed_behind_it_are_a_copy_while_others_write() -> None:
    copies = bootstrap(Plan(seconds=10, sql_processes=2, api_processes=0, pause=0.02))
    assert len(copies) >= LEAST_COPIES
    assert all(copy.none for copy in copies), copies
    assert copies[0].records
