"""What is installed and pinned: the wheel, the lock, the README's commands."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.expression import Expression

from tests.conftest import PATIENCE
from tests.network import free_port

ROOT = Path(__file__).parent.parent
_PIN = re.compile(r"^([a-z0-9-]+==[^ ;\\]+)", re.MULTILINE)


def test_the_lock_and_the_pins_are_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = project["tool"]["uv"]["constraint-dependencies"]
    locked = _PIN.findall((ROOT / "requirements.lock").read_text())
    assert sorted(pins) == sorted(set(locked))


def test_every_locked_package_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    for entry in re.split(r"\n(?=[a-z])", text.strip()):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for dependency in project["project"]["dependencies"]:
        match = re.match(r"[a-z0-9-]+", dependency)
        assert match is not None
        assert re.search(rf"\b{match[0]}\b", reasons), dependency


# --- the tests that the plain command leaves out ---------------------------------------------


def _selections(command: str) -> list[str]:
    """Give the marker expressions of the pytest commands in a text."""
    return re.findall(r"\bpytest\b.* -m ['\"]?([a-z ()]+[a-z])", command)


def _selected(expression: str, markers: Iterable[str]) -> bool:
    """Tell whether a marker expression selects a test that has these markers."""
    having = set(markers)

    def has(name: str, /, **_: object) -> bool:
        return name in having

    return Expression.compile(expression).evaluate(has)


def test_the_plain_command_leaves_out_nothing_that_ci_does_not_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    options = project["tool"]["pytest"]["ini_options"]
    (plain,) = _selections("pytest " + options["addopts"])
    every = [plain, *_selections((ROOT / ".ci" / "run").read_text())]
    known = [marker.partition(":")[0] for marker in options["markers"]]
    assert {name for name in known if not _selected(plain, [name])} == set(known)
    for size in range(len(known) + 1):
        for markers in itertools.combinations(known, size):
            assert any(_selected(each, markers) for each in every), markers


# --- with tools from outside -----------------------------------------------------------------


def _clean_environment(home: Path) -> dict[str, str]:
    """Give an environment that knows nothing of this checkout but where programs are."""
    unwanted = ("CLAIM_RECORDS_", "UV_PROJECT", "PYTEST_", "VIRTUAL_ENV", "PYTHONPATH", "DATABASE_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    return kept | {"HOME": str(home)}


def _run(*command: str | Path, **more: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@contextlib.contextmanager
def _serving(command: Sequence[str | Path], **more: Any) -> Iterator[list[str]]:
    """Run `serve`, wait until it says that it is ready, and stop it as Ctrl-C does."""
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **more) as process:
        try:
            assert process.stdout is not None
            printed = [process.stdout.readline() for _ in range(5)]
            assert " is ready at " in printed[0], printed
            yield printed
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0


@pytest.mark.outside
def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = _clean_environment(home)
    _run("uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT, env=environment)
    (wheel,) = tmp_path.glob("*.whl")
    _run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "venv", env=environment)
    python = tmp_path / "venv" / "bin" / "python"
    _run(
        *("uv", "pip", "install", "--quiet", "--python", python),
        *("--constraint", ROOT / "requirements.lock", wheel),
        env=environment,
    )
    command = tmp_path / "venv" / "bin" / "claim-records"
    arguments: list[str | Path] = [command, "serve", "--port", "0", "--data-dir", tmp_path / "data"]
    with _serving(arguments, cwd=tmp_path, env=environment) as printed:
        base = printed[0].split()[-1]
        request = urllib.request.Request(
            f"{base}/v1/claims",
            data=json.dumps({"text": "It works"}).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {printed[3].split()[-1]}",
            },
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 201
        for path in (
            "/",
            "/docs",
            "/docs/tour",
            "/explore",
            "/assets/explore/main.js",
            "/docs/questions",
            "/docs/anchors",
            "/docs/changelog",
            "/openapi.json",
            "/health/ready",
        ):
            with urllib.request.urlopen(base + path, timeout=PATIENCE) as answer:
                assert answer.status == 200
    _run(command, "openapi", "--check", cwd=tmp_path, env=environment)


def _blocks(page: str = "README.md") -> list[str]:
    """Give the shell commands of a page, block by block."""
    return re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.outside
def test_every_command_in_the_readme_works(tmp_path: Path) -> None:
    """The first command serves; the tour runs beside it; the rest runs one by one.

    So do the checks of `docs/contributing.md`. Left out are the test command, which runs this test,
    and `.ci/check` and `.ci/run`, which run that.
    """
    home = tmp_path / "home"
    home.mkdir()
    clone = tmp_path / "clone"
    _run("git", "-c", "safe.directory=*", "clone", "--quiet", ROOT, clone)
    port = str(free_port())
    environment = _clean_environment(home) | {"CLAIM_RECORDS_PORT": port}
    environment["PATH"] = f"{_virtual_environment(tmp_path)}:{environment['PATH']}"

    run, in_venv, tests, *rest = (
        b.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for b in _blocks()
    )
    assert "claim-records serve --demo" in run
    assert "venv" in in_venv
    assert tests.strip() == "pip install uv && uv run pytest"
    own = [b for b in rest if "createdb" in b]
    tools = next(b for b in _blocks("docs/contributing.md") if ".ci/run" in b)
    tour = [b for b in rest if b not in own]

    for block in (run, in_venv):
        with _background(block, clone, environment, port, tmp_path / "printed"):
            if block is run:
                key = re.search(
                    r"^Key: (clk_\S+)$", (tmp_path / "printed").read_text(), re.MULTILINE
                )
                assert key is not None
                commands = "\n".join(tour).replace("key=clk_…", f"key={key[1]}")
                said = _run("bash", "-euo", "pipefail", "-c", commands, cwd=clone, env=environment)
                assert '"family":"denies"' in said
                assert "stands at 27 to 33" in said
                assert '"changed":["certainty"]' in said
                assert '"committed":true' in said
                assert "/v1/problems/" in said  # the one answer that is meant to be a refusal
                assert said.count('"status":4') == 1
    checks = "\n".join(line for line in tools.splitlines() if ".ci/" not in line)
    _run("bash", "-euo", "pipefail", "-c", checks, cwd=clone, env=environment)
    assert len(own) == 2
    for block in own:
        _run_on_own_postgres(block, tmp_path, clone, environment, port)


def _virtual_environment(tmp_path: Path) -> Path:
    """Make the environment that the reader's pip installs into."""
    _run(sys.executable, "-m", "venv", tmp_path / "reader")
    if not (tmp_path / "reader" / "bin" / "pip").exists():
        _run(tmp_path / "reader" / "bin" / "python", "-m", "ensurepip")
    return tmp_path / "reader" / "bin"


@contextlib.contextmanager
def _background(
    block: str, cwd: Path, environment: dict[str, str], port: str, printed: Path
) -> Iterator[None]:
    """Run a block that serves, and stop it when it is no longer needed."""
    with (
        printed.open("w") as out,
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=cwd,
            env=environment,
            start_new_session=True,
            stdout=out,
        ) as process,
    ):
        try:
            _wait_until_ready(port, process)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)


def _wait_until_ready(port: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 5 * PATIENCE  # it installs everything first
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(
                f"http://127.0.0.1:{port}/health/ready", timeout=PATIENCE
            ).close()
            return
        time.sleep(0.2)
    raise AssertionError("it was never ready")


def _run_on_own_postgres(
    block: str, tmp_path: Path, clone: Path, environment: dict[str, str], port: str
) -> None:
    """Run the block on a server of one's own: here one that this test starts."""
    from api.embedded import EmbeddedPostgres, find_binaries  # noqa: PLC0415

    directory = Path(tempfile.mkdtemp(dir=tmp_path))
    with EmbeddedPostgres(directory / "own", fsync=False) as server:
        host = server.url().partition("host=")[2].partition("&")[0].replace("%2F", "/")
        tools = find_binaries()
        assert (tools / "createdb").exists() or shutil.which("createdb")
        # `createdb` finds the server as it would any: by the variables of libpq.
        own = environment | {
            "PGHOST": host,
            "PGUSER": "postgres",
            "PATH": f"{environment['PATH']}:{tools}",
        }
        # The server has a database of that name already, and no port.
        block = re.sub(r"\bclaim_records\b", "own_records", block).replace("@localhost/", "@/")
        with _background(block, clone, own, port, tmp_path / "printed"):
            pass
