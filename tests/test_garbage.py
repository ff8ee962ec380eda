"""When garbage is collected, so that nobody waits for it."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from api.core.large_input import in_thread, without_frames
from api.server.process import (
    COLLECTION_SECONDS,
    LATE_COLLECTION_SECONDS,
    Server,
    shorten_blocks,
)
from tests.conftest import patient


class Quiet:
    """An application that answers nothing."""

    async def __call__(self, scope: Any, receive: Any, send: Any, /) -> None:
        """Do nothing."""

    def drain(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Collections:
    """Counts what would be collected, on a clock that only the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.now = time.monotonic()
        monkeypatch.setattr(gc, "collect", self._collect)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def _collect(self) -> None:
        self.count += 1

    async def after(self, server: Server, seconds: float) -> int:
        """Give how many collections there have been, when that much more time has passed."""
        self.now += seconds
        await server.on_tick(1)
        return self.count


async def test_all_garbage_is_collected_when_no_large_body_is_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a collection looks at all parts of the body, and holds the event loop meanwhile."""
    collections = Collections(monkeypatch)
    server = Server(patient(), lambda _: Quiet(), lambda: None)
    assert await collections.after(server, COLLECTION_SECONDS) == 1
    assert await collections.after(server, COLLECTION_SECONDS - 1) == 1
    end = threading.Event()
    work = asyncio.ensure_future(in_thread(end.wait, 60))
    await asyncio.sleep(0)
    try:
        assert await collections.after(server, COLLECTION_SECONDS) == 1
        assert await collections.after(server, LATE_COLLECTION_SECONDS) == 2
    finally:
        end.set()
        await work
    assert await collections.after(server, COLLECTION_SECONDS) == 3


def test_python_itself_looks_at_no_old_object() -> None:
    before, interval = gc.get_threshold(), sys.getswitchinterval()
    try:
        shorten_blocks()
        assert gc.get_threshold()[2] == 2**31 - 1
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(interval)


class Document:
    """Something large."""

    text = "no number"


async def test_what_an_error_in_a_thread_kept_is_freed_there() -> None:
    freed_by = []

    def fail() -> None:
        document = Document()
        weakref.finalize(document, lambda: freed_by.append(threading.current_thread()))
        try:
            int(document.text)
        except ValueError:
            raise LookupError from None

    with pytest.raises(LookupError) as caught:
        await in_thread(fail)
    assert caught.value.__traceback__
    assert freed_by
    assert threading.main_thread() not in freed_by


def test_an_error_that_is_kept_lets_go_of_what_it_was_about() -> None:
    freed: list[str] = []

    def fail() -> None:
        document = Document()
        weakref.finalize(document, freed.append, document.text)
        int(document.text)

    gc.disable()
    try:
        try:
            fail()
        except ValueError as error:
            kept = without_frames(error)
    finally:
        gc.enable()
    assert kept.args
    assert freed
