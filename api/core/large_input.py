"""Work on large input in a thread, so that the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from traceback import clear_frames
from typing import Any, Final, ParamSpec, TypeVar, cast

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Error = TypeVar("Error", bound=BaseException)

MAX_INLINE_BYTES: Final = 16_384
"""Input of this size is read and checked within some milliseconds."""
MAX_INLINE_FAULTS: Final = 100
"""As many faults are found within some milliseconds."""
MAX_THREADS: Final = 2
"""Python runs one thread at a time, so that more threads would only slow the event loop down."""
_THREADS: Final = ThreadPoolExecutor(MAX_THREADS, "large-input")
_CONNECTED_THREAD: Final = ThreadPoolExecutor(1, "large-input-connected")
"""For work that keeps a connection to Postgres from others: it waits for no other work."""
_UNDER_WAY: Final[set[asyncio.Future[Any]]] = set()
_holds_connection: Final = ContextVar("holds_connection", default=False)


@contextmanager
def holding_connection() -> Iterator[None]:
    """Tell that work in this block keeps a connection to Postgres from others."""
    token = _holds_connection.set(True)
    try:
        yield
    finally:
        _holds_connection.reset(token)


async def work_on(
    size: int,
    function: Callable[Parameters, Result],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Result:
    """Call a function whose input has `size` bytes: in a thread if they are many.

    A function that has no effect but its result may find out that there is more to do than the
    event loop should wait for, see :func:`leave_event_loop`. It is called again in a thread then.
    """
    if size <= MAX_INLINE_BYTES:
        before = _IN_EVENT_LOOP.set(True)
        try:
            return function(*args, **kwargs)
        except _MoreToDo:
            pass
        finally:
            _IN_EVENT_LOOP.reset(before)
    return await in_thread(function, *args, **kwargs)


_IN_EVENT_LOOP: Final = ContextVar("in_event_loop", default=False)


class _MoreToDo(Exception):  # noqa: N818 - it is no error
    """There is more to do than the event loop should wait for."""


def leave_event_loop() -> None:
    """Have the function that :func:`work_on` calls be called again in a thread, unless it is."""
    if _IN_EVENT_LOOP.get():
        raise _MoreToDo


async def in_thread(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call a function in a thread, when one is free."""
    loop = asyncio.get_running_loop()
    threads = _CONNECTED_THREAD if _holds_connection.get() else _THREADS
    work = loop.run_in_executor(threads, _call, lambda: function(*args, **kwargs))
    _UNDER_WAY.add(work)
    work.add_done_callback(_UNDER_WAY.discard)
    return await work


def _call(function: Callable[[], Result]) -> Result:
    """Call a function; if it fails, free what it worked on.

    An error keeps its frames, and they keep the documents that they read. To free a large one takes
    up to 12 ms, which would pass in the event loop, some time after the error was answered.
    """
    try:
        return function()
    except Exception as error:
        for each in _chain(error):
            clear_frames(each.__traceback__)
        raise


def without_frames(error: Error) -> Error:
    """Have an error that is kept for later let go of what its frames hold."""
    for each in list(_chain(error)):
        each.__traceback__ = each.__context__ = None
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, and those during whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__context__


def is_under_way() -> bool:
    """Tell whether a thread works on large input, or some waits for one."""
    return bool(_UNDER_WAY)


async def each_in_thread(items: Iterator[Result]) -> AsyncIterator[Result]:
    """Give the items of an iterator, each of which is made in a thread."""
    while (item := await in_thread(next, items, _END)) is not _END:
        yield cast("Result", item)


async def read_ahead(items: Iterator[Result | None]) -> AsyncGenerator[Result]:
    """Give the items of an iterator, and make the next one in a thread while the last one is used.

    The iterator may give a null instead of an item: then the thread is free for other work before
    it goes on. Use this with `aclosing`, so that nothing more is made after an error.
    """
    following = begun(next_made(items))
    try:
        while (item := await following) is not None:
            following = begun(next_made(items))
            yield item
    finally:
        following.cancel()


def begun(making: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Begin to make something that may not be wanted any more when it is made."""
    task = asyncio.create_task(making)
    # Nobody asks for the error of what is not wanted any more.
    task.add_done_callback(lambda made: made.cancelled() or made.exception())
    return task


async def next_made(items: Iterator[Result | None]) -> Result | None:
    """Make the next item in a thread; give null if there is none.

    A null that the iterator gives is no item: the thread is free for other work before it goes on.
    """
    while (item := await in_thread(next, items, _END)) is None:
        pass
    return None if item is _END else cast("Result", item)


_END: Final = object()
