"""Work in the background ends with the service, also if a cancellation is lost."""

from __future__ import annotations

import asyncio
import logging

import pytest

from api.core import background
from api.core.background import again_and_again, meanwhile
from api.core.errors import UNAVAILABLE, Problem
from tests.conftest import PATIENCE


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_END_SECONDS", 0.01)


class Losing:
    """Work that loses its first cancellations: an error of cleaning up takes their place."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.begun = asyncio.Event()

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            self.times -= 1
            if self.times >= 0:
                raise Problem(UNAVAILABLE, "The ROLLBACK failed.") from None
            raise


async def _live_beside(work: Losing) -> None:
    async with asyncio.timeout(PATIENCE / 2):
        async with meanwhile(again_and_again(0, work, "work waits")):
            await work.begun.wait()


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_work_ends_though_its_cancellation_is_lost(times: int) -> None:
    work = Losing(times)
    await _live_beside(work)
    assert work.times == -1


async def test_work_that_never_ends_is_left_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    work = Losing(background._END_TIMES)  # noqa: SLF001
    with caplog.at_level(logging.ERROR, "claim_records"):
        await _live_beside(work)
    assert "though it was cancelled 10 times" in caplog.text


async def test_a_bug_that_ends_work_shows_at_the_end() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with meanwhile(work()):
            await asyncio.sleep(0)
