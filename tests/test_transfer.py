"""`claim-records export` and `import`: whole or not there, and nothing twice, whatever is cut off.

They are run beside a service that listens; between the two stands a line that can be cut.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import pytest
import zstandard

from api.access import keyring
from api.sync.remote import TransientFailure
from api.sync.transfer import importing, instance, pieces
from api.sync.transfer.errors import TransferError
from api.sync.transfer.exporting import Wanted
from api.sync.transfer.files import read_pieces
from api.sync.transfer.outcomes import Counts, read_outcomes
from api.sync.transfer.pieces import cut_lines, lines_of
from api.sync.transfer.progress import Progress
from api.sync.transfer.wholeness import Whole, WholeLines, WholePlaces, WholeTable
from schemas.vocabularies import RecordType
from tests.conftest import KEY, PATIENCE, swept
from tests.test_cli import (
    COMMAND,
    REPOSITORY,
    Ended,
    Run,
    environment,
    eventually,
    run,
    run_with_full_stdout,
)
from tests.test_mirror import Line, Source, line, reader, source
from tests.world import MINIMAL

__all__ = ["line", "run", "source"]  # fixtures

UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\n%bcontent-length: 0\r\nconnection: close\r\n\r\n"
)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the pauses before the next try, and make none."""
    found: list[float] = []
    monkeypatch.setattr(instance, "sleep", found.append)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "records.ndjson"


def export(run: Run, address: str, file: Path | str, *more: str, key: str = KEY) -> Ended:
    ended = run("export", "--from", address, str(file), *more, EXPORT_KEY=key)
    assert key[-30:] not in ended.out + ended.err
    return ended


def import_(run: Run, address: str, file: Path | str, *more: str, key: str = KEY) -> Ended:
    ended = run("import", "--to", address, str(file), *more, IMPORT_KEY=key)
    assert key[-30:] not in ended.out + ended.err
    return ended


def sources(count: int, **more: Any) -> list[dict[str, Any]]:
    """Make lines that name no record."""
    return [
        {"type": "source", "data": {**MINIMAL["sources"], "note": f"{uuid4()}", **more}}
        for _ in range(count)
    ]


def write_lines(file: Path, lines: list[Any]) -> None:
    """Write lines; what is text already is written as it is."""
    written = [each if isinstance(each, str) else json.dumps(each) for each in lines]
    file.write_text("".join(f"{each}\n" for each in written))


def count(source: Source, lines: list[Any]) -> int:
    """Count the records that were made of lines, by their notes."""
    notes = {each["data"]["note"] for each in lines}
    return sum(json.loads(doc).get("note") in notes for _, doc in source.rows().values())


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


# --- export --------------------------------------------------------------------------------------


def test_all_records_are_exported_and_can_be_imported(run: Run, source: Source, file: Path) -> None:
    source.add(name="Lee \u2028 “the MP”")
    source.add("claims", text="Said\r\nso")
    ended = export(run, source.address, file)
    assert (ended.code, ended.err) == (0, "")
    header, *records, totals = map(json.loads, file.read_bytes().splitlines())
    assert header["cursor"]
    rows = source.rows()
    assert {(each["type"], each["id"]): each["data"] for each in records} == {
        name: json.loads(doc) for name, (_, doc) in rows.items()
    }
    assert totals == {"count": len(records)}
    assert f"{len(records):,} records, {file.stat().st_size:,} bytes" in ended.out
    assert file.stat().st_mode & 0o777 == 0o600
    ended = import_(run, source.address, file)
    assert (ended.code, ended.err) == (0, "")
    assert f": {len(records):,} unchanged." in ended.out
    assert source.rows() == rows


@pytest.mark.parametrize(
    "case",
    swept(
        [
            ("claims.ndjson", {}),
            ("claims.csv", {"kind": "quantity"}),
            ("claims.csv", {"columns": "id,text", "bom": "1"}),
            ("claims.csv", {"trailer": "1"}),
            ("claims.geojson", {"sort": "created_at"}),
            ("claims.csv.gz", {"limit": "2"}),
            ("claims.ndjson.zst", {"review_status": "published"}),
        ],
        [("claims.csv", {"columns": "id,text", "bom": "1"})],
    ),
)
def test_a_list_is_exported_as_the_api_gives_it(
    run: Run, source: Source, tmp_path: Path, case: tuple[str, dict[str, str]]
) -> None:
    name, query = case
    source.add("claims", text='He said "so"\r\nand #count,7\r\n', kind="quantity")
    place = {"role": "event", "name": "Seoul", "latitude": 37.5, "longitude": 127}
    source.add("claims", places=[place])
    file = tmp_path / name
    asked = [part for pair in query.items() for part in ("--query", "=".join(pair))]
    ended = export(run, source.address, file, "--type", "claim", *asked)
    assert (ended.code, ended.err) == (0, "")
    form = name.split(".")[1]
    answer = source.client.get("/v1/claims", params={**query, "format": form})
    assert answer.status_code == 200, answer.text
    opened = {".gz": gzip.decompress, ".zst": _decompressed}.get(file.suffix, bytes)
    assert opened(file.read_bytes()) == answer.content
    if form == "csv":
        rows = list(csv.reader(io.StringIO(answer.text, newline="")))
        assert f"{len(rows) - 1 - len(query.get('trailer', '')):,} records" in ended.out


def _decompressed(content: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(content)


def test_an_export_to_stdout_has_nothing_else_there(run: Run, source: Source) -> None:
    source.add("claims")
    ended = export(run, source.address, "-", "--type", "claim")
    assert ended.code == 0
    answer = source.client.get("/v1/claims", params={"format": "ndjson"})
    assert ended.out.encode() == answer.content
    assert ended.err.startswith("The export was written to stdout: ")


@pytest.mark.usefixtures("pauses")
def test_an_export_that_is_cut_off_begins_anew(
    run: Run, source: Source, line: Line, file: Path
) -> None:
    source.add_many()
    line.cut, line.first = True, [400_000, 100]
    ended = export(run, line.address, file, "--type", "source")
    assert ended.code == 0, ended.err
    assert ended.err.count("Trying again in") == 2
    answer = source.client.get("/v1/sources", params={"format": "ndjson"})
    assert file.read_bytes() == answer.content
    assert names(file.parent) == [file.name]


def test_an_export_that_is_always_cut_off_leaves_what_was_there(
    run: Run, source: Source, line: Line, file: Path, pauses: list[float]
) -> None:
    source.add_many()
    file.write_text("before")
    line.cut, line.most = True, 400_000
    ended = export(run, line.address, file)
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("Error: ")
    assert f"try {instance.MAX_TRIES}" in ended.err
    assert len(pauses) == instance.MAX_TRIES - 1
    assert all(pause <= instance.MAX_PAUSE for pause in pauses)
    assert file.read_text() == "before"
    assert names(file.parent) == [file.name]


@pytest.mark.usefixtures("pauses")
def test_what_was_printed_is_not_printed_again(run: Run, source: Source, line: Line) -> None:
    source.add_many()
    line.cut, line.first = True, [100, 400_000]  # the first try fails before anything is printed
    ended = export(run, line.address, "-", "--type", "source")
    assert ended.code == 1
    assert "is not whole" in ended.err.splitlines()[-1]
    assert len(set(ended.out.splitlines())) == len(ended.out.splitlines()) > 1


def test_an_export_to_a_stdout_that_is_full_is_an_error(source: Source) -> None:
    source.add_many()
    for name in ("claim", "source"):  # few bytes, and more than are kept back
        export = ("export", "--from", source.address, "-", "--type", name)
        ended = run_with_full_stdout(*export, EXPORT_KEY=KEY)
        assert ended.returncode == 1, ended.stderr
        assert ended.stderr.count("\n") == 1
        assert "Error: stdout cannot be written: No space left on device." in ended.stderr


@pytest.mark.sweep
def test_a_file_that_is_replaced_keeps_who_may_read_it(
    run: Run, source: Source, file: Path
) -> None:
    file.write_text("before")
    file.chmod(0o644)
    link = file.with_name("link.ndjson")
    link.symlink_to(file)
    assert export(run, source.address, link).code == 0
    assert link.is_symlink()
    assert '"cursor"' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644


def test_what_is_not_a_regular_file_is_not_replaced(
    run: Run, source: Source, tmp_path: Path
) -> None:
    ended = export(run, source.address, tmp_path, "--format", "ndjson")
    assert ended.code == 1
    assert "is not a regular file. Name another file, or `-` for stdout." in ended.err


@pytest.mark.sweep
def test_an_export_has_what_its_key_sees(run: Run, source: Source, file: Path) -> None:
    draft = source.add("claims")
    key = reader(source)
    held = file.with_name("key")
    held.write_text(f"{key}\n")
    ended = run("export", "--from", source.address, str(file), "--key-file", str(held))
    assert ended.code == 0, ended.err
    assert draft["id"] not in file.read_text()
    assert json.loads(file.read_text().splitlines()[-1])["count"] == len(
        source.rows("visibility = 0")
    )


def test_what_is_refused_as_a_whole_is_tried_once(run: Run, source: Source, file: Path) -> None:
    false = keyring.written("ba9876543210", "1" * 30)
    ended = export(run, source.address, file, key=false)
    assert ended.code == 1
    assert "answered 401" in ended.err
    assert "EXPORT_KEY" in ended.err
    assert ended.err.count("\n") == 1
    assert names(file.parent) == []
    table = file.with_suffix(".csv")
    table.write_text("nothing\r\nof,this\r\n")
    ended = import_(run, source.address, table, "--type", "claim")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "answered 400" in ended.err


# --- whether an export is whole ------------------------------------------------------------------

WHOLE: dict[str, tuple[Callable[[], Whole], bytes, int | None]] = {
    "lines": (WholeLines, b'{"a":1}\n{"a":"x\\n"}\n{"count":2}\n', 2),
    "no lines": (WholeLines, b'{"count":0}\n', 0),
    "all": (lambda: WholeLines(1), b'{"cursor":"c"}\n{"a":1}\n{"count":1}\n', 1),
    "table": (
        lambda: WholeTable(keep_trailer=False),
        b'id,text\r\n1,"a\r\n""b"" #count,9\r\n"\r\n2,c\r\n#count,2\r\n',
        2,
    ),
    "places": (
        WholePlaces,
        (
            b'{"type":"FeatureCollection","features":[{"geometry":{"coordinates":[127,37.5]},"properties":'
            b'{"text":"a \\"}]}\\\\","tags":[]}}]}'
        ),
        None,
    ),
    "no places": (WholePlaces, b'{"type":"FeatureCollection","features":[]}', None),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_export_is_told_from_a_cut_one(name: str) -> None:
    make, text, records = WHOLE[name]
    for size in (1, 3, len(text)):
        whole = make()
        parts = [text[start : start + size] for start in range(0, len(text), size)]
        passed = b"".join(map(whole.take, parts)) + whole.end()
        assert passed == text.removesuffix(b"#count,2\r\n")
        assert whole.records == records
    for end in range(len(text)):
        whole = make()
        whole.take(text[:end])
        with pytest.raises(TransientFailure):
            whole.end()


def test_an_export_with_fewer_records_than_it_counts_is_not_whole() -> None:
    for whole, text in (
        (WholeLines(), b'{"a":1}\n{"count":2}\n'),
        (WholeTable(keep_trailer=True), b"id\r\n1\r\n#count,2\r\n"),
    ):
        whole.take(text)
        with pytest.raises(TransientFailure, match="1 of 2"):
            whole.end()


def test_a_trailer_that_the_user_asks_for_is_asked_for_once() -> None:
    for value in ("1", "true"):
        wanted = Wanted(RecordType.CLAIM, [("trailer", value)], "csv", "identity")
        assert wanted.parameters == [("trailer", value), ("format", "csv")]


# --- import --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pauses")
def test_a_piece_that_is_cut_off_is_sent_again_and_nothing_is_written_twice(
    run: Run, source: Source, line: Line, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_LINES", 10)
    lines = sources(25)
    write_lines(file, lines)
    # The service has written a piece when its answer begins.
    line.cut, line.first = True, [20, 3_000]
    ended = import_(run, line.address, file)
    assert ended.code == 0, ended.err
    assert ended.err.count("Trying again in") == 2
    assert "25 of 25 lines are answered: " in ended.out
    assert count(source, lines) == 25


def test_a_file_that_is_sent_again_writes_nothing_twice(
    run: Run, source: Source, file: Path
) -> None:
    lines = sources(3)
    write_lines(file, lines)
    assert "3 created" in import_(run, source.address, file).out
    assert "3 unchanged" in import_(run, source.address, file).out
    assert count(source, lines) == 3
    assert "3 created" in import_(run, source.address, file, "--idempotency-key", "once more").out
    assert count(source, lines) == 6


@pytest.mark.sweep
def test_a_line_with_an_id_is_written_again_unless_it_has_a_guard(
    run: Run, source: Source, file: Path
) -> None:
    """As the guides say: the idempotency key is for lines that name no record."""
    identity = f"{uuid4()}"
    (line,) = sources(1)
    write_lines(file, [{**line, "id": identity}])
    assert "1 created" in import_(run, source.address, file).out
    other = file.with_name("other.ndjson")
    changed = {"type": "source", "id": identity, "data": {**line["data"], "note": "Changed"}}
    write_lines(other, [changed])
    assert "1 updated" in import_(run, source.address, other).out
    assert "1 updated" in import_(run, source.address, file).out
    assert count(source, [line]) == 1
    write_lines(other, [{**changed, "if_match": '"v2"'}])
    ended = import_(run, source.address, other)
    assert (ended.code, ended.out[:11]) == (4, "line 1: 412")
    assert count(source, [line]) == 1


def test_a_corrected_file_writes_what_was_refused(
    run: Run, source: Source, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_LINES", 3)
    lines: list[Any] = sources(7)
    del lines[4]["data"]["kind"]
    wrong = [*lines[:2], "", "{nonsense", *lines[2:]]
    write_lines(file, wrong)
    key = f"{uuid4()}"
    ended = import_(run, source.address, file, "--idempotency-key", key)
    assert ended.code == 4
    assert [each.partition(":")[0] for each in ended.out.splitlines()[:-1]] == ["line 4", "line 7"]
    assert "line 7: 422 invalid-record: /data/kind: " in ended.out
    assert ended.out.splitlines()[-1] == "9 of 9 lines are answered: 6 created, 2 refused."
    lines[4]["data"]["kind"] = "person"
    write_lines(file, [*lines[:2], "", "", *lines[2:]])
    ended = import_(run, source.address, file, "--idempotency-key", key)
    assert (ended.code, ended.err) == (0, "")
    assert "1 created, 6 unchanged" in ended.out
    assert count(source, lines) == 7


def test_a_message_names_the_option_and_not_the_parameter(
    run: Run, source: Source, file: Path
) -> None:
    missing = {"namespace": "desk", "value": f"{uuid4()}"}
    write_lines(file, [{"type": "source", "data": {**MINIMAL["sources"], "parent_id": missing}}])
    ended = import_(run, source.address, file)
    assert ended.code == 4
    assert "put that line first, or send `--atomic`." in ended.out


@pytest.mark.parametrize(
    ("option", "told"), [("--dry-run", "a dry run"), ("--atomic", "lines were refused")]
)
def test_all_lines_are_one_request_if_they_belong_together(
    run: Run,
    source: Source,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    told: str,
) -> None:
    monkeypatch.setattr(pieces, "PIECE_LINES", 1)
    lines = sources(3)
    write_lines(file, [*lines, {"type": "source"}])
    ended = import_(run, source.address, file, option)
    assert ended.code == 4
    assert ended.out.startswith("line 4: 422 ")
    assert told in ended.out.splitlines()[-1]
    assert ended.out.count("\n") == 2
    assert count(source, lines) == 0
    identity = f"{uuid4()}"
    article = {"text": "Lee says so.", "headline": "So", "publisher_id": identity}
    good = {"type": "article", "data": {**MINIMAL["articles"], **article}}
    write_lines(file, [good, {**lines[0], "id": identity}])
    assert import_(run, source.address, file, "--atomic").code == 0
    assert count(source, lines) == 1


def test_records_of_a_list_come_back(run: Run, source: Source, file: Path) -> None:
    source.add("claims", text="Said")
    assert export(run, source.address, file, "--type", "claim").code == 0
    rows = source.rows()
    ended = import_(run, source.address, file, "--type", "claim")
    assert (ended.code, source.rows()) == (0, rows)
    assert " unchanged." in ended.out
    changed = [
        {**json.loads(each), "note": "Changed"} for each in file.read_text().splitlines()[:1]
    ]
    write_lines(file, [*changed, {"text": "New"}, '{"text"'])
    ended = import_(run, source.address, file, "--type", "claim")
    assert ended.code == 4
    assert ended.out.startswith("line 3: 400 ")
    assert "1 created, 1 updated, 1 refused" in ended.out


def test_a_table_comes_back_with_what_was_edited(
    run: Run, source: Source, file: Path, line: Line, pauses: list[float]
) -> None:
    tag = uuid4().hex
    for note in ("left", "edited", "wrong"):
        source.add("claims", note=note, tags=[tag])
    table = file.with_suffix(".csv")
    asked = (
        "--type",
        "claim",
        "--query",
        f"tag={tag}",
        "--query",
        "columns=claimant,id,version,note,kind",
    )
    assert export(run, source.address, table, *asked).code == 0
    text = table.read_bytes()
    assert text.count(b"\r\n") == 4
    rows = text.decode().replace("edited", "new").split("\r\n")
    wrong = next(number for number, row in enumerate(rows, 1) if "wrong" in row)
    edited = next(number for number, row in enumerate(rows, 1) if "new" in row)
    left = next(number for number, row in enumerate(rows, 1) if "left" in row)
    rows[left - 1] = f"somebody{rows[left - 1]}"
    rows[wrong - 1] = rows[wrong - 1].rpartition(",")[0] + ",dog"
    table.write_bytes("\r\n".join(rows).encode())
    before = source.rows()
    ended = import_(run, source.address, table, "--type", "claim", "--dry-run")
    assert (ended.code, source.rows()) == (4, before)
    told = sorted(ended.out.splitlines()[:-1])
    assert f'row {edited}, column note: "edited" becomes "new"' in told
    assert len(told) == 3
    assert any(each.startswith(f"row {wrong}, column kind: 422 ") for each in told)
    ignored = f"row {left}, column claimant: A{left}: This cell is ignored, and "
    assert any(each.startswith(ignored) for each in told)
    line.cut, line.first = True, [20]  # it was written when its answer is cut off
    ended = import_(run, line.address, table, "--type", "claim")
    assert (ended.code, len(pauses)) == (4, 1)
    assert ended.out.startswith(f"row {wrong}: 422 ")
    assert ended.out.endswith("The file is answered: 2 unchanged, 1 refused.\n")
    changed = [json.loads(doc) for name, (_, doc) in source.rows().items() if tag in doc]
    assert sorted((each["note"], each["version"]) for each in changed) == [
        ("left", 1),
        ("new", 2),
        ("wrong", 1),
    ]


def test_reviews_are_imported_each_as_a_whole(run: Run, source: Source, file: Path) -> None:
    address = f"https://facts.example/{uuid4()}"
    review = {
        "@context": "https://schema.org",
        "@type": "ClaimReview",
        "url": address,
        "author": {"@type": "Organization", "name": "The Fact Desk"},
        "claimReviewed": "Something is so.",
        "reviewRating": {"@type": "Rating", "alternateName": "Unproven"},
    }
    reviews = file.with_suffix(".jsonld.gz")
    unrated = {**review, "url": f"{address}/2", "reviewRating": None}
    reviews.write_bytes(gzip.compress(json.dumps([review, unrated]).encode()))
    ended = import_(run, source.address, reviews)
    assert ended.code == 4
    assert ended.out.startswith("review 2: 422 ")
    assert ended.out.count("\n") == 2
    assert sum(address in doc for _, doc in source.rows().values()) == 1


def test_what_is_on_stdin_is_imported(
    run: Run, source: Source, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = sources(2)
    write_lines(file, lines)
    with file.open() as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        ended = import_(run, source.address, "-")
    assert (ended.code, ended.err) == (0, "")
    assert count(source, lines) == 2


def test_the_time_that_a_busy_service_asks_for_is_waited(
    run: Run, source: Source, line: Line, file: Path, pauses: list[float]
) -> None:
    lines = sources(1)
    write_lines(file, lines)
    line.first = [UNAVAILABLE % b"retry-after: 7\r\n", UNAVAILABLE % b""]
    assert import_(run, line.address, file).code == 0
    assert pauses[0] == 7
    assert pauses[1] < 7
    assert count(source, lines) == 1
    line.first = [UNAVAILABLE % b"retry-after: 601\r\n"]
    ended = import_(run, line.address, file)
    assert ended.code == 1
    assert "asks to wait for 601 s" in ended.err
    assert len(pauses) == 2


def test_an_import_that_ends_early_tells_how_far_it_came(
    run: Run, source: Source, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_LINES", 2)
    lines = sources(4)
    write_lines(file, lines)
    read: list[int] = []

    def read_one(parts: Iterator[bytes], unit: str, before: int, report: TextIO) -> Counts:
        read.append(before)
        if len(read) == 2:
            raise TransferError("It ends here.")
        return read_outcomes(parts, unit, before, report)

    monkeypatch.setattr(importing, "read_outcomes", read_one)
    ended = import_(run, source.address, file)
    assert (ended.code, ended.out) == (1, "")
    far, error = ended.err.splitlines()
    assert far.startswith("2 of 4 lines are answered: 2 created. Run the same command again")
    assert error == "Error: It ends here."
    assert "4 unchanged" in import_(run, source.address, file).out
    assert count(source, lines) == 4


def test_an_empty_file_has_nothing_to_write(run: Run, source: Source, file: Path) -> None:
    for option in ((), ("--atomic",), ("--type", "claim")):
        file.write_text("")
        ended = import_(run, source.address, file, *option)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == "0 of 0 lines are answered: nothing to write.\n"
    false = keyring.written("ba9876543210", "1" * 30)
    assert "answered 401" in import_(run, source.address, file, key=false).err


def test_an_answer_that_ends_within_a_line_is_asked_for_again() -> None:
    result = b'{"line":1,"status":201}\n'
    totals = b'{"totals":{"lines":1,"created":1}}\n'
    assert read_outcomes(iter([result, totals]), "line", 0, io.StringIO()) == {
        "lines": 1,
        "created": 1,
    }
    for end in range(len(result + totals) - 1):
        with pytest.raises(TransientFailure):
            read_outcomes(iter([(result + totals)[:end]]), "line", 0, io.StringIO())
    with pytest.raises(TransferError, match="not one that this version understands"):
        read_outcomes(iter([b"nonsense\n", totals]), "line", 0, io.StringIO())


# --- the file of an import -----------------------------------------------------------------------


def test_an_export_that_was_cut_off_is_not_imported(run: Run, source: Source, file: Path) -> None:
    lines = sources(2)
    write_lines(file, [{"cursor": "c", "at": "2024-01-01T00:00:00Z", "types": []}, *lines])
    ended = import_(run, source.address, file)
    assert (ended.code, ended.out) == (1, "")
    assert "was cut off" in ended.err
    assert count(source, lines) == 0


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_file_is_read_whole_or_refused(coding: str) -> None:
    compress = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}[coding]
    content = os.urandom(5_000) + b"\n" * 500_000
    compressed = compress(content)
    assert b"".join(read_pieces(io.BytesIO(compressed), coding)) == content
    assert b"".join(read_pieces(io.BytesIO(compressed * 2), coding)) == content * 2
    for damaged in (compressed[:-1], compressed[:3_000], b"", b"nothing"):
        with pytest.raises(TransferError):
            list(read_pieces(io.BytesIO(damaged), coding))


def test_lines_are_the_same_however_the_file_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '\ufeff{"a":"\u2028"}\r\n\n{"b":2}\n\n\nlast'.encode()
    expected = ['{"a":"\u2028"}\r', "", '{"b":2}', "", "", "last"]
    for size in (1, 2, 7, len(text)):
        parts = (text[start : start + size] for start in range(0, len(text), size))
        assert [each.decode() for each in lines_of(parts)] == expected
    monkeypatch.setattr(pieces, "MAX_LINE_BYTES", 10)
    with pytest.raises(TransferError, match="Line 2 is longer"):
        list(lines_of(iter([b"first\n", b"a" * 11])))


def test_a_line_has_the_same_piece_and_place_when_others_are_corrected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "PIECE_LINES", 2)
    for lines, sizes in ((b"a\nb\nc\nd\n", [4, 4]), (b"aaa\n\nc\nd\ne", [5, 4, 2])):
        cut = cut_lines(iter([lines]), io.BytesIO(), None, in_one=False)
        assert [piece.first_line for piece in cut.pieces] == [1, 3, 5][: len(sizes)]
        assert [piece.size for piece in cut.pieces] == sizes
    assert cut_lines(iter([lines]), io.BytesIO(), None, in_one=True).pieces == [(1, 0, 11)]
    assert cut_lines(iter([b""]), io.BytesIO(), RecordType.CLAIM, in_one=True).pieces == [(1, 0, 0)]


# --- waiting, stopping, telling ------------------------------------------------------------------


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_silent_service_is_given_up(
    run: Run, file: Path, command: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(file, sources(1))
    monkeypatch.setattr(instance, "READ_SECONDS", 0.05)
    monkeypatch.setattr(importing, "PIECE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        act = {"export": export, "import": import_}[command]
        ended = act(run, address, file)
    assert ended.code == 1
    assert len(pauses) == instance.MAX_TRIES - 1
    assert "The connection failed" in ended.err


@pytest.mark.process
@pytest.mark.newest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["export", "import"])
def test_a_signal_ends_it_and_leaves_nothing(
    source: Source, line: Line, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    source.add_many()
    file = tmp_path / "records.ndjson"
    line.most = 400_000 if command == "export" else 0
    if command == "import":
        write_lines(file, sources(3))
    before = names(tmp_path)
    option = {"export": "--from", "import": "--to"}[command]
    log = tmp_path.parent / f"{uuid4().hex}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*COMMAND, command, option, line.address, str(file)],
            stderr=stderr,
            cwd=REPOSITORY,
            env=environment(EXPORT_KEY=KEY, IMPORT_KEY=KEY),
        )
        try:
            eventually(lambda: line.opened and (command == "import" or names(tmp_path) != before))
            process.send_signal(number)
            assert process.wait(PATIENCE) == 128 + number
        finally:
            process.kill()
    assert names(tmp_path) == before
    assert "Traceback" not in log.read_text()
    if command == "import":
        assert "0 of 3 lines are answered. Run the same command again" in log.read_text()


def test_progress_is_one_line_of_a_terminal_and_else_lines_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter(range(1_000))
    monkeypatch.setattr("api.sync.transfer.progress.monotonic", lambda: float(next(clock)))
    for is_terminal in (True, False):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda known=is_terminal: known)
        with caplog.at_level(logging.INFO, logger="claim_records.transfer"):
            caplog.clear()
            progress = Progress(stream)
            for number in range(25):
                progress.show(f"{number} records")
            progress.warn("Cut off.")
            progress.clear()
        told = [record.getMessage() for record in caplog.records]
        if is_terminal:
            assert stream.getvalue().count("\r\x1b[2K") == 26
            assert stream.getvalue().endswith("24 records\r\x1b[2K")
            assert told == ["Cut off."]
        else:
            assert stream.getvalue() == ""
            assert told == ["9 records", "19 records", "Cut off."]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("export", "--from", "ftp://x", "a.ndjson"), "http://"),
        (("export", "--from", "http://u:secret@x", "a.ndjson"), "without a user"),
        (("export", "--from", "http://x", "a.xlsx"), "tells no format"),
        (("export", "--from", "http://x", "a.csv"), "Add `--type`: a file in this format"),
        (("export", "--from", "http://x", "a.csv", "--query", "kind", "--type", "claim"), "="),
        (
            ("export", "--from", "http://x", "-", "--type", "claim", "--query", "format=csv"),
            "--for",
        ),
        (("export", "--from", "http://x", "-", "--key-file", "none"), "none"),
        (("import", "--to", "http://x", "none.ndjson"), "No such file or directory. See `"),
        (("import", "--to", "http://x", __file__, "--format", "csv"), "Add `--type`"),
        (
            ("import", "--to", "http://x", __file__, "--format", "jsonld", "--type", "claim"),
            "Leave",
        ),
        (("import", "--to", "http://x", "-", "--idempotency-key", "ä"), "ASCII"),
    ],
)
def test_a_wrong_use_is_one_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
    assert told in ended.err
    assert "secret" not in ended.err
