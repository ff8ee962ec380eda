"""LibreOffice Calc for tests of tables: it opens one, types into cells, and saves it.

Debian's packages are `libreoffice-calc-nogui` and `python3-uno`. They have no windows, and do all
that matters here as the program with windows does.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.conftest import PATIENCE

AS_OFFERED: Final = "as offered"
SPECIAL: Final = "special numbers"
AS_TEXT: Final = "all as text"
OPENINGS: Final = (AS_OFFERED, SPECIAL, AS_TEXT)
"""How a person may answer the dialogue that opens a CSV file: as it is offered, with “Detect
special numbers”, or with all columns marked and set to “Text”."""
_SECONDS_TO_END: Final = 10
_DRIVER: Final = Path(__file__).parent / "libreoffice" / "drive.py"
_PROFILE: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
  <item oor:path="/org.openoffice.Setup/L10N">
    <prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>{locale}</value></prop>
  </item>
</oor:items>
"""


class Office:
    """A running LibreOffice, spoken to through a script that Debian's Python runs."""

    def __init__(self, driver: subprocess.Popen[str], directory: Path) -> None:
        self._driver, self._directory = driver, directory

    def do(self, name: str, *arguments: Any) -> Any:
        """Have the script call one of its methods."""
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._driver.stdin.flush()
        ready, _, _ = select.select([self._driver.stdout], [], [], PATIENCE)
        assert ready, f"LibreOffice did not {name} in time"
        told = self._driver.stdout.readline()
        assert told, f"the script has ended with {self._driver.wait(PATIENCE)}"
        answer = json.loads(told)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def trip(
        self,
        table: bytes,
        opening: str,
        typed: Mapping[str, str] | None = None,
        via: str | None = None,
    ) -> bytes:
        """Open a table, type into its cells, by their addresses, and save it as CSV again.

        `via` is the ending of another format, in which it is kept and opened again in between.
        """
        place = self._directory / f"{uuid4().hex}.csv"
        place.write_bytes(table)
        self.do("open", str(place), options(opening, table))
        if via is not None:
            self.do("save_as", str(place.with_suffix(via)))
            self.do("close")
            self.do("open", str(place.with_suffix(via)))
        for cell, text in (typed or {}).items():
            self.do("type", cell, text)
        if via is None:
            self.do("save")
        else:
            self.do("save_as", str(place), options(AS_OFFERED, table))
        self.do("close")
        return place.read_bytes()


def options(opening: str, table: bytes) -> str:
    """Write what the dialogue asks for, as LibreOffice's help has it under “CSV Filter Options”.

    In this order: comma, quotation mark, UTF-8, from the first line on, the formats of columns, the
    language of the program, no quoted field as text, special numbers, as shown, no formulas, no
    trimmed spaces, the first sheet, no formulas in what is read.
    """
    columns = table.partition(b"\n")[0].count(b",") + 1
    text = "/".join(f"{number}/2" for number in range(1, columns + 1))
    formats = text if opening == AS_TEXT else ""
    special = "true" if opening == SPECIAL else "false"
    return f"44,34,76,1,{formats},0,false,{special},true,false,false,0,false"


@contextmanager
def running(directory: Path, locale: str) -> Iterator[Office]:
    """Run LibreOffice as somebody of a country has it, until the end of the block."""
    command = shutil.which("soffice")
    assert command, (
        "this test needs LibreOffice Calc (Debian: libreoffice-calc-nogui and python3-uno)"
    )
    profile = directory / "profile"
    (profile / "user").mkdir(parents=True)
    (profile / "user" / "registrymodifications.xcu").write_text(_PROFILE.format(locale=locale))
    quiet = ("--headless", "--norestore", "--nologo", "--nodefault", "--nolockcheck")
    flags = [*quiet, f"-env:UserInstallation={profile.as_uri()}"]
    # The first start fills the profile, and may end itself to begin anew.
    subprocess.run([command, *flags, "--terminate_after_init"], check=True, timeout=PATIENCE)
    pipe = f"claim-records-{uuid4().hex}"
    with (
        _process([command, *flags, f"--accept=pipe,name={pipe};urp;"]),
        _process(
            ["/usr/bin/python3", str(_DRIVER), pipe],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        ) as driver,
    ):
        office = Office(driver, directory)
        yield office
        office.do("quit")


@contextmanager
def _process(command: list[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program that is spoken to, with its children; it ends at the latest with the block."""
    speech: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **speech, **more) as process:
        try:
            yield process
        finally:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
