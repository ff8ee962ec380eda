"""Apply a page of `docs/` to a copy of the checkout: its blocks of new files and of changes.

`python -m tests.recipe docs/adding-a-record-type.md DIRECTORY` makes such a copy to look at.

As a plugin of pytest in such a copy, this module leaves out the cases of the other record types.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from api.server import schema
from schemas.vocabularies import RecordType

REPOSITORY: Final = Path(__file__).parents[1]
_BLOCK: Final = re.compile(
    r"^```(\w+)\n# (\S+)( \((?:new|at the end)\))?\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """What a page says of one file."""

    path: str
    place: str  # “new” or “at the end”; "" for changes
    text: str

    @property
    def before(self) -> str:
        """The lines that the file has: those around the change, and those that go."""
        return self._lines("-")

    @property
    def after(self) -> str:
        """The lines that the file has then."""
        return self._lines("+")

    def _lines(self, sign: str) -> str:
        kept = (line for line in self.text.splitlines() if line[:1] in {"", " ", sign})
        return "".join(f"\n{line[1:]}" for line in kept)

    @property
    def added(self) -> int:
        """How many lines it adds."""
        lines = self.text.splitlines()
        return len(lines) if self.place else sum(line.startswith("+") for line in lines)


def blocks(page: Path) -> Iterator[Block]:
    """Read the blocks that name a file, the number of the next migration filled in."""
    number = int(schema.latest())
    text = page.read_text().replace("NNNN", f"{number + 1:04}").replace("MMMM", f"{number:04}")
    for language, path, place, body in _BLOCK.findall(text):
        assert place or language == "diff", path
        yield Block(path, place.strip(" ()"), body)


def copy(target: Path) -> None:
    """Copy the files that git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)


def apply(page: Path, target: Path) -> None:
    """Make the changes of a page in a copy; each place has to be there, once."""
    for block in blocks(page):
        path = target / block.path
        if block.place == "new":
            assert not path.exists(), block.path
            path.write_text(block.text)
        elif block.place:
            path.write_text(path.read_text() + block.text)
        else:
            text = "\n" + path.read_text()
            count = text.count(block.before + "\n")
            assert count == 1, f"{block.path} has this {count} times:\n{block.before}"
            path.write_text(text.replace(block.before, block.after)[1:])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the cases of the record type that came last, and those that are of no type."""
    left_out = [item for item in items if _is_of_another_type(item)]
    items[:] = [item for item in items if not _is_of_another_type(item)]
    config.hook.pytest_deselected(items=left_out)


def _is_of_another_type(item: pytest.Item) -> bool:
    case = getattr(getattr(item, "callspec", None), "id", "")
    *others, last = ({each.value, f"{each.value}s"} for each in RecordType)
    parts = set(case.split("-"))
    return not parts.isdisjoint(set().union(*others)) and parts.isdisjoint(last)


def main() -> None:
    """Make a copy, apply a page to it, and tell what it takes."""
    page, target = map(Path, sys.argv[1:])
    copy(target)
    apply(page, target)
    made = list(blocks(page))
    edits, new = [b for b in made if b.place != "new"], [b for b in made if b.place == "new"]
    sys.stdout.write(
        f"{len(edits)} edits in {len({block.path for block in edits})} files, "
        f"{sum(block.added for block in edits)} lines; "
        f"{len(new)} new files, {sum(block.added for block in new)} lines\n"
    )


if __name__ == "__main__":
    main()
