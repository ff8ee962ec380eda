"""Do in LibreOffice Calc what a person does: open a table, edit cells, save it.

Reads commands as JSON lines, and answers each with a line: an object, with `error` if it failed.
Debian's own Python runs this, because python3-uno is made for that.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import uno
from com.sun.star.beans import PropertyValue
from com.sun.star.connection import NoConnectException

CSV = "Text - txt - csv (StarCalc)"
FILTERS = {
    ".csv": CSV,
    ".xlsx": "Calc MS Excel 2007 XML",
    ".ods": "calc8",
}
PATIENCE = 120


def properties(**values: Any) -> tuple[Any, ...]:
    return tuple(PropertyValue(name, 0, value, 0) for name, value in values.items())


class Office:
    """LibreOffice, reached over a pipe, and the document that is open in it."""

    def __init__(self, pipe: str) -> None:
        local = uno.getComponentContext()
        resolver = local.ServiceManager.createInstanceWithContext(
            "com.sun.star.bridge.UnoUrlResolver", local
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.context = resolver.resolve(
                    f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext"
                )
                break
            except NoConnectException:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.05)
        self.desktop = self._service("com.sun.star.frame.Desktop")
        self.document: Any = None

    def _service(self, name: str) -> Any:
        return self.context.ServiceManager.createInstanceWithContext(name, self.context)

    def open(self, path: str, options: str = "") -> None:
        """Open a file; the options are those that the dialogue for CSV asks for."""
        more = {"FilterOptions": options} if options else {}
        self.document = self.desktop.loadComponentFromURL(
            Path(path).as_uri(),
            "_blank",
            0,
            properties(Hidden=True, FilterName=FILTERS[Path(path).suffix], **more),
        )
        if self.document is None:
            raise RuntimeError("the file could not be opened")

    def type(self, cell: str, text: str) -> None:
        """Put into a cell what somebody types who uses the numbers and dates of the country."""
        self.document.Sheets.getByIndex(0).getCellRangeByName(cell).FormulaLocal = text

    def save(self) -> None:
        """Save in the format in which the file was opened."""
        self.document.store()

    def save_as(self, path: str, options: str = "") -> None:
        """Save as another file; its ending tells the format."""
        more = {"FilterOptions": options} if options else {}
        self.document.storeAsURL(
            Path(path).as_uri(), properties(FilterName=FILTERS[Path(path).suffix], **more)
        )

    def close(self) -> None:
        self.document.close(True)
        self.document = None

    def quit(self) -> None:
        self.desktop.terminate()


def main() -> None:
    office = Office(sys.argv[1])
    name = ""
    while name != "quit":
        name, *arguments = json.loads(sys.stdin.readline())
        try:
            answer = {"value": getattr(office, name)(*arguments)}
        except Exception as error:  # noqa: BLE001 - the test tells it
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


main()
