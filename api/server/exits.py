"""How the command ends when it can't do its work: exit codes, and the errors that carry them."""

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
DATABASE: Final = 3
REFUSED: Final = 4


class CommandError(Exception):
    """The command can't do its work; the message says why and what helps, in whole sentences."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        """Take the message and the exit code."""
        super().__init__(message)
        self.code = code


class HurriedError(Exception):
    """A second signal ended the service before its requests were done."""

    def __init__(self, number: int) -> None:
        """Take the number of the signal."""
        super().__init__(number)
        self.number = number
