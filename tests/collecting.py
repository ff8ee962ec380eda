"""How the tests are collected: soon, and only some cases of each where all tests are run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

SAMPLE: Final = 2
"""How many of a test's cases the plain run tries, so that everybody can afford it."""
_WHOLE: Final = "whole_suite"


def pytest_configure_node(node: object) -> None:
    """Tell a worker whether the run names tests of its own."""
    node.workerinput[_WHOLE] = _is_whole(node.config)  # type: ignore[attr-defined]


def _is_whole(config: pytest.Config) -> bool:
    """Say whether a run takes the whole suite: it names no file and no test."""
    if hasattr(config, "workerinput"):
        whole: bool = config.workerinput[_WHOLE]
        return whole
    return config.args_source is not config.ArgsSource.ARGS and not config.option.keyword


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Collect the tests without looking for garbage, and never look at them again for it.

    There is little of it, and what is made here stays until the end. To look at all that again and
    again took a fifth of the time of the collection.
    """
    gc.disable()
    try:
        if hasattr(session.config, "workerinput") and _is_whole(session.config):
            _import_in_turn(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_in_turn(config: pytest.Config) -> None:
    """Import all tests, each worker beginning at another file.

    In a new checkout, it takes ten seconds to compile them with their asserts rewritten. Workers
    that begin at the same file do all of that at the same time. So each does its share, and finds
    the rest done.
    """
    given = config.workerinput  # type: ignore[attr-defined]
    names = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))
    start = len(names) * int(given["workerid"].removeprefix("gw")) // given["workercount"]
    for name in names[start:] + names[:start]:
        # What is wrong with a file is told where its tests are collected.
        with suppress(Exception, pytest.skip.Exception):
            import_module(f"tests.{name}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark most cases of the tests with many as a sweep, in a run of the whole suite.

    The cases that stay are spread evenly over the list. Whoever names a file runs all its cases.
    """
    if not _is_whole(config):
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not any(item.iter_markers("sweep")):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for of_one_test in cases.values():
        tried = {len(of_one_test) * place // SAMPLE for place in range(SAMPLE)}
        for place, item in enumerate(of_one_test):
            if place not in tried and len(of_one_test) > SAMPLE:
                item.add_marker(pytest.mark.sweep)
