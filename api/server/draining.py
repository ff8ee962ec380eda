"""Draining: the time before a stop in which a process still answers, but asks clients to leave."""

from __future__ import annotations


class Draining:
    """Whether this process is about to stop: a balancer sends it nothing more then."""

    def __init__(self) -> None:
        """Start as a process that stays."""
        self.begun = False

    def begin(self) -> None:
        """Ask for no more requests, from now until the process ends."""
        self.begun = True
