"""The instance at the other end of a transfer: asking it, and asking again where that may help."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from time import sleep
from typing import Final, NamedTuple, NoReturn, TypeVar

import httpx

from api.sync.errors import USAGE
from api.sync.remote import TransientFailure, explain_refusal, key_headers, read_address
from api.sync.transfer.errors import RefusedError, TransferError
from api.sync.transfer.progress import Progress

MAX_TRIES: Final = 8
"""How often the same is tried; with the pauses between the tries that is about a minute."""
FIRST_PAUSE: Final = 0.5
MAX_PAUSE: Final = 30.0
MAX_RETRY_AFTER: Final = 600.0
"""How many seconds an instance may ask to wait; where it asks for more, the command gives up."""
CONNECT_SECONDS: Final = 15.0
READ_SECONDS: Final = 90.0
"""How long an instance may be silent before and within an answer."""
WRITE_SECONDS: Final = 60.0
_MAX_REFUSAL: Final = 65_536
"""How many bytes of a refusal are read."""

Result = TypeVar("Result")


class Instance(NamedTuple):
    """A service, reached by its public API."""

    client: httpx.Client
    key_variable: str  # where the user puts the key
    progress: Progress

    @contextmanager
    def answer(
        self,
        method: str,
        path: str,
        parameters: Sequence[tuple[str, str]],
        *,
        headers: Mapping[str, str] | None = None,
        body: Iterator[bytes] | None = None,
        read_seconds: float | None = None,
    ) -> Iterator[httpx.Response]:
        """Send a request, and give its answer while it arrives, if that is a success."""
        request = self.client.build_request(
            method,
            path,
            params=list(parameters),
            headers=headers,
            content=body,
            timeout=httpx.Timeout(
                CONNECT_SECONDS, read=read_seconds or READ_SECONDS, write=WRITE_SECONDS
            ),
        )
        try:
            with closing(self.client.send(request, stream=True)) as answer:
                if answer.status_code != httpx.codes.OK:
                    self._refuse(answer)
                yield answer
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise TransientFailure(f"The connection failed: {reason}.") from error

    def persist(self, work: Callable[[], Result]) -> Result:
        """Do something, and do it again while it fails in a way that may pass."""
        for failures in range(MAX_TRIES):
            try:
                return work()
            except TransientFailure as failure:
                if failures + 1 == MAX_TRIES:
                    raise TransferError(f"{failure} That was try {MAX_TRIES}, the last.") from None
                self._pause(failure, failures)
        raise AssertionError  # the last try has returned or raised

    def _pause(self, failure: TransientFailure, failures: int) -> None:
        """Say why, and wait: longer after each failure, and as long as the instance asks."""
        if failure.seconds > MAX_RETRY_AFTER:
            message = f"{failure} It asks to wait for {failure.seconds:.0f} s. Try again then."
            raise TransferError(message) from None
        longest = min(MAX_PAUSE, FIRST_PAUSE * 2**failures)
        pause = max(longest * random.uniform(0.5, 1), failure.seconds)  # noqa: S311 - no secret
        self.progress.warn(f"{failure} Trying again in {pause:.1f} s")
        sleep(pause)

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        """Raise the error that a refusal means."""
        message = explain_refusal(answer, _beginning_of(answer), self.key_variable)
        raise RefusedError(f"The service refuses: {message}")


@contextmanager
def connect(url: str, key: str | None, key_variable: str, progress: Progress) -> Iterator[Instance]:
    """Make an HTTP client for an instance."""
    try:
        address = read_address(url)
    except ValueError as error:
        raise TransferError(str(error), USAGE) from None
    try:
        headers = key_headers(key)
    except ValueError as error:
        raise TransferError(f"The value of {key_variable} {error}", USAGE) from None
    with httpx.Client(base_url=address, headers=headers) as client:
        yield Instance(client, key_variable, progress)


def _beginning_of(answer: httpx.Response) -> bytes:
    body = b""
    for piece in answer.iter_bytes(_MAX_REFUSAL):
        body += piece
        if len(body) >= _MAX_REFUSAL:
            break
    return body
