"""Tables that come back: only the edited cells change a record, and nothing is guessed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from api.access import keyring
from api.exchange import table_text
from api.exchange.cells import escaped, unescaped
from api.records.nouns import RESOURCES
from api.sync.importing import batches
from api.sync.importing.spool import Spool
from api.sync.importing.tables import comparing, merging
from api.sync.importing.tables.rows import numbered_rows, read_table
from schemas.vocabularies import RecordType, Scope
from tests.conftest import allow, bearer, serving
from tests.factories import EVERY, Client, create, prerequisites
from tests.world import World

Cells = list[dict[str, str]]
CSV = {"content-type": "text/csv"}


@pytest.fixture
async def empty(empty_url: str) -> Any:
    async with serving(empty_url) as client:
        yield client


def read(text: str) -> Cells:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def written(
    rows: Sequence[dict[str, str]],
    separator: str = ",",
    line_end: str = "\r\n",
    quoting: Any = csv.QUOTE_MINIMAL,
) -> bytes:
    """Write a table as a spreadsheet does, which knows nothing of escapes."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text,
        list(rows[0]),
        delimiter=separator,
        lineterminator=line_end,
        restval="",
        quoting=quoting,
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


async def export(client: Client, plural: str, **asked: str) -> Cells:
    answer = await client.get(f"/v1/{plural}", params={"format": "csv", **asked})
    assert answer.status_code == 200, answer.text
    return read(answer.text)


async def send(
    client: Client, kind: str, body: bytes | Cells, **query: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    content = body if isinstance(body, bytes) else written(body)
    answer = await client.post(
        "/v1/import", params={"type": kind, **query}, content=content, headers=CSV
    )
    assert answer.status_code == 200, answer.text
    *results, totals = [json.loads(line) for line in answer.text.splitlines()]
    return results, totals["totals"]


async def refused(client: Client, kind: str, body: bytes, **query: str) -> str:
    answer = await client.post(
        "/v1/import", params={"type": kind, **query}, content=body, headers=CSV
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-table"), answer.text
    return str(answer.json()["detail"])


async def claim(client: Client, **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/claims", json={"text": "Something is so", **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def now(client: Client, record: dict[str, Any], plural: str = "claims") -> dict[str, Any]:
    return dict((await client.get(f"/v1/{plural}/{record['id']}")).json())


def errors(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Give the code and the cell of each error; the cell stands before the detail."""
    return [(e["code"], e["detail"].partition(":")[0]) for e in result["problem"]["errors"]]


# --- only what differs -----------------------------------------------------------------------


@pytest.mark.parametrize("wide", [{}, {"wide": "1"}], ids=["usual", "wide"])
async def test_a_table_that_nobody_edited_changes_nothing(
    empty: Client, wide: dict[str, str]
) -> None:
    """Whatever the records have in them, and all types together."""
    ids = await prerequisites(empty)
    for noun in EVERY.values():
        record = await create(empty, noun, noun.full(ids))
        before = (await empty.get(record.path)).content
        rows = await export(empty, noun.resource.plural, **wide)
        results, totals = await send(empty, noun.type, rows)
        assert totals["unchanged"] == len(rows) == totals["lines"], results
        assert (await send(empty, noun.type, rows, dry_run="true"))[0] == []
        assert (await empty.get(record.path)).content == before


async def test_only_the_edited_cells_change_in_a_dry_run_and_for_real(client: Client) -> None:
    one = await claim(client, note="a note", tags=["a"], kind="event")
    two = await claim(client)
    asked = {"columns": "id,version,text,note,tags,kind", "id__in": f"{one['id']}"}
    rows = await export(client, "claims", **asked)
    rows += await export(client, "claims", **{**asked, "id__in": two["id"]})
    rows[0] |= {"text": "Something is not so", "note": "", "tags": '["a","b"]'}
    cells, totals = await send(client, "claim", rows, dry_run="true")
    assert cells == [
        {
            "row": 2,
            "column": name,
            "was": was,
            "becomes": becomes,
            "problem": None,
            "ignored": False,
        }
        for name, was, becomes in (
            ("text", "Something is so", "Something is not so"),
            ("note", "a note", None),
            ("tags", '["a"]', '["a","b"]'),
        )
    ]
    assert (totals["updated"], totals["unchanged"]) == (1, 1)
    assert await now(client, one) == one

    results, totals = await send(client, "claim", rows)
    assert [(r["line"], r["status"], r["changed"]) for r in results] == [
        (2, 200, True),
        (3, 200, False),
    ]
    changed = await now(client, one)
    assert {name for name in one if one[name] != changed[name]} == {
        "text",
        "note",
        "tags",
        "version",
        "updated_at",
    }
    assert (changed["note"], changed["tags"]) == (None, ["a", "b"])
    assert await now(client, two) == two


async def test_a_cell_that_nobody_edited_never_reverts_anything(client: Client) -> None:
    """And a property that was changed on both sides is a conflict, named by cell."""
    record = await claim(client, note="a note")
    asked = {"columns": "id,version,text,note,kind", "id__in": record["id"]}
    (row,) = await export(client, "claims", **asked)
    answer = await client.patch(
        f"/v1/claims/{record['id']}",
        content=b'{"text": "Changed"}',
        headers={"if-match": "*", "content-type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200
    (result,), _ = await send(client, "claim", [row | {"note": "mine"}])
    assert (result["status"], result["version"]) == (200, 3)
    changed = await now(client, record)
    assert (changed["text"], changed["note"]) == ("Changed", "mine")

    edited = [row | {"text": "Mine", "note": "mine", "kind": "event"}]
    (result,), totals = await send(client, "claim", edited)
    assert (result["status"], result["problem"]["code"]) == (412, "precondition-failed")
    assert errors(result) == [("other-version", "C2")]
    assert "`Changed`" in result["problem"]["detail"]
    assert totals["refused"] == 1
    (cell,), _ = await send(client, "claim", edited, dry_run="true")
    assert (cell["row"], cell["column"], cell["becomes"]) == (2, "text", "Mine")
    assert cell["problem"]["code"] == "precondition-failed"
    assert await now(client, record) == changed

    (result,), _ = await send(client, "claim", [row | {"text": "Changed", "note": "mine"}])
    assert (result["status"], result["changed"]) == (200, False)


@pytest.mark.parametrize("column", ["id", "external_id.desk"])
async def test_a_row_is_found_by_id_or_external_id(empty: Client, column: str) -> None:
    record = await claim(empty, external_ids=[{"namespace": "desk", "value": "7"}])
    rows = await export(empty, "claims", columns=f"{column},version,note")
    (result,), _ = await send(empty, "claim", [rows[0] | {"note": "mine"}])
    assert (result["status"], result["id"]) == (200, record["id"])
    assert (await now(empty, record))["note"] == "mine"


async def test_rows_that_name_no_record_create_one(empty: Client) -> None:
    rows = [
        {"external_id.desk": "1", "text": "One", "note": "'tis", "tags": ""},
        {"external_id.desk": "", "text": "Two", "note": "'=1+1", "tags": '["x"]'},
    ]
    results, totals = await send(empty, "claim", rows)
    assert totals["created"] == 2, results
    one, two = [await now(empty, result) for result in results]
    assert one["external_ids"] == [{"namespace": "desk", "value": "1"}]
    assert (one["note"], two["note"], two["tags"]) == ("'tis", "=1+1", ["x"])
    results, totals = await send(empty, "claim", rows[:1])
    assert totals["unchanged"] == 1
    (result,), _ = await send(empty, "claim", [rows[0] | {"text": "Else"}])
    assert (result["status"], result["problem"]["errors"][0]["code"]) == (422, "required")
    assert await now(empty, one) == one


async def test_the_same_file_with_a_key_creates_its_rows_once(client: Client) -> None:
    body = written([{"text": "One"}, {"text": "Two"}])
    headers = {**CSV, "idempotency-key": "a-table-of-two"}
    answers = [
        await client.post("/v1/import?type=claim", content=body, headers=headers) for _ in range(2)
    ]
    first, again = [[json.loads(x) for x in answer.text.splitlines()] for answer in answers]
    assert [r["status"] for r in first[:-1]] == [201, 201]
    assert [(r["status"], r["id"]) for r in again[:-1]] == [(200, r["id"]) for r in first[:-1]]


@pytest.mark.parametrize("key", [{}, {"idempotency-key": "an-emptied-id"}], ids=["", "key"])
async def test_a_row_with_a_version_and_an_emptied_id_creates_nothing(
    empty: Client, key: dict[str, str]
) -> None:
    await claim(empty)
    rows = await export(empty, "claims", columns="id,version,text")
    body = written([rows[0] | {"id": ""}])
    answer = await empty.post("/v1/import?type=claim", content=body, headers={**CSV, **key})
    result, _ = [json.loads(line) for line in answer.text.splitlines()]
    assert (result["status"], result["problem"]["code"]) == (404, "not-found")
    assert len(await export(empty, "claims")) == 1


async def test_a_row_that_names_what_is_not_there_is_refused(client: Client) -> None:
    record = await claim(client)
    gone = await claim(client)
    await client.delete(f"/v1/claims/{gone['id']}", headers={"if-match": "*"})
    rows = [
        {"id": "0190a000-0000-7000-8000-000000000000", "version": "1", "text": "x"},
        {"id": "7", "version": "1", "text": "x"},
        {"id": record["id"], "version": "x", "text": "x"},
        {"id": record["id"], "version": "9", "text": "x"},
        {"id": record["id"], "version": "", "text": "x"},
        {"id": "", "version": "1", "text": "x"},
        {"id": gone["id"], "version": "1", "text": "x"},
        {"id": gone["id"], "version": "1", "text": gone["text"]},
    ]
    results, _ = await send(client, "claim", rows)
    assert [result["status"] for result in results] == [404, 422, 422, 422, 422, 404, 410, 200]
    assert [errors(r) for r in results[1:5]] == [
        [("invalid-value", "A3")],
        [("invalid-value", "B4")],
        [("other-version", "B5")],
        [("required", "B6")],
    ]
    assert await now(client, record) == record


async def test_an_atomic_table_is_written_as_a_whole(client: Client) -> None:
    record = await claim(client)
    rows = await export(client, "claims", columns="id,version,text,kind", id__in=record["id"])
    rows = [rows[0] | {"text": "Mine"}, {"id": "", "version": "", "text": "New", "kind": "bad"}]
    results, totals = await send(client, "claim", rows, atomic="true")
    assert [result["status"] for result in results] == [424, 422]
    assert errors(results[1]) == [("unknown-term", "D3")]
    assert await now(client, record) == record
    cells, _ = await send(client, "claim", rows, atomic="true", dry_run="true")
    assert [(c["row"], c["column"], c["problem"]["code"]) for c in cells] == [
        (2, "text", "not-applied"),
        (3, "kind", "invalid-record"),
    ]
    _, totals = await send(client, "claim", [rows[0], rows[1] | {"kind": ""}], atomic="true")
    assert (totals["updated"], totals["created"]) == (1, 1)


async def test_a_record_that_changes_between_the_look_and_the_write_is_compared_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await claim(client, note="a note")
    (row,) = await export(client, "claims", columns="id,version,text,note", id__in=record["id"])
    merge, calls = merging._merge, []  # noqa: SLF001

    def changed_meanwhile(*arguments: Any) -> Any:
        entry = merge(*arguments)
        calls.append(entry)
        if len(calls) == 1 and entry.row:  # as if somebody had written version 2
            return entry._replace(row=entry.row._replace(version=2))
        return entry

    monkeypatch.setattr(merging, "_merge", changed_meanwhile)
    (result,), _ = await send(client, "claim", [row | {"note": "mine"}])
    assert (result["status"], len(calls)) == (200, 2)


# --- what spreadsheets do --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["=1+1", "'=1+1", "''", "'", "-5", "@x", "\tx", "\uff1dx", "'tis", "", "plain", "'x", "+"],
)
def test_an_escape_comes_off_as_it_was_put(text: str) -> None:
    assert unescaped(escaped(text)) == text


HARD = {
    "formula": '=HYPERLINK("x")',
    "apostrophe": "'=1",
    "quote": 'say "no", or; not',
    "newlines": "one\r\ntwo\nthree",
    "emoji": "👩‍👩‍👧 🇰🇷",
    "right to left": "שלום עולם مرحبا",
    "zeros": "007",
    "long": "12345678901234567890",
    "blanks": "  in blanks  ",
    "dash": "- a list",
}


@pytest.mark.parametrize(
    ("separator", "line_end", "mark"),
    [(",", "\r\n", b""), (";", "\r\n", b"\xef\xbb\xbf"), ("\t", "\n", b""), (",", "\n", b"")],
    ids=["comma", "excel", "tab", "unix"],
)
async def test_hard_cells_survive_separators_marks_and_line_ends(
    empty: Client, separator: str, line_end: str, mark: bytes
) -> None:
    records = [await claim(empty, text=text, tags=["x;y", "z,"]) for text in HARD.values()]
    rows = await export(empty, "claims", trailer="1")
    assert rows[-1]["claimant"] == "#count"
    results, totals = await send(empty, "claim", mark + written(rows, separator, line_end))
    assert totals["unchanged"] == len(records), results
    edited = [{**row, "note": row["text"]} for row in rows[:-1]]
    results, totals = await send(empty, "claim", mark + written(edited, separator, line_end))
    assert totals["updated"] == len(records), results
    for record in records:
        assert (await now(empty, record))["note"] == record["text"]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
async def test_line_breaks_that_a_spreadsheet_writes_in_its_own_way_are_no_edit(
    client: Client, line_break: str
) -> None:
    for text in ("one\ntwo\nthree", "one\r\ntwo\r\nthree"):
        record = await claim(client, text=text)
        (row,) = await export(client, "claims", columns="id,version,text", id__in=record["id"])
        edited = row | {"text": line_break.join(("one", "two", "three"))}
        (result,), totals = await send(client, "claim", [edited])
        assert totals["unchanged"] == 1, result
        assert await now(client, record) == record


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
async def test_all_cells_may_stand_in_quotation_marks(client: Client, separator: str) -> None:
    """R writes tables so, also their first row."""
    record = await claim(client, text="One, or; two")
    (row,) = await export(client, "claims", columns="id,version,text,note", id__in=record["id"])
    body = written([row | {"note": "a, b; c"}], separator, quoting=csv.QUOTE_ALL)
    (result,), _ = await send(client, "claim", body)
    assert result["status"] == 200, result
    assert (await now(client, record))["note"] == "a, b; c"


@pytest.mark.parametrize(
    ("before", "cell"),
    [
        ("1234567890123456", "1.23457E+15"),
        ("x", "1,23E+15"),
        (None, "1E5"),
        ("007", "7"),
        ("12345678901234567890", "12345678901234500000"),
        (None, "12345678901234500000"),
        ("x" * 40_000, "x" * 32_767),
        ("👩" + "x" * 40_000, "👩" + "x" * 32_765),
        ("x" * 32_766 + "👩" * 4, "x" * 32_766 + "\ufffd"),
        ("x" * 32_766 + "👩" * 4, "x" * 32_766),
        ("- " + "x" * 40_000, "'- " + "x" * 32_764),
        ("one\r\ntwo" + "x" * 40_000, "one\ntwo" + "x" * 32_759),
        ("one\ntwo" + "x" * 40_000, "one\r\ntwo" + "x" * 32_759),
        ("1,000", "1000"),
        ("1,000", "1"),
        ("1.234", "1234"),
        ("1.234,5", "1234.5"),
        ("1 000", "1000"),
        ("1.50", "1.5"),
        ("1.5", "1,5"),
        ("1e5", "100000"),
        ("1e-7", "0,0000001"),
        (".5", "0.5"),
        ("5.", "5"),
        (" 5 ", "5"),
        ("(5)", "-5"),
        ("50%", "50,00\u00a0%"),
        ("$5", "$5.00"),
        ("\u20ac 5", "5"),
        ("0.30000000000000004", "0.3"),
        ("1234567890123456", "1234567890123460"),
        ("12/19/2024", "12/19/24"),
        ("1/2", "01/02/26"),
        ("1/2", "2026-02-01"),
        ("1/2", "2-Jan"),
        ("3-4", "04. Mar"),
        ("1.5.", "01.05.26"),
        ("May 2024", "05/01/24"),
        ("MARCH1", "1-Mar"),
        ("10:30", "10:30:00 AM"),
        ("14:30", "02:30:00 PM"),
        ("0:05", "12:05:00 AM"),
        ("2024-12-19 10:30", "12/19/24 10:30"),
        ("true", "TRUE"),
        ("wahr", "WAHR"),
        ("a\tb\nc", "ab\nc"),
        ("\ttab", "'tab"),
        ("x", "#NAME?"),
        ("x", "#WERT!"),
        ("x", "#DIV/0!"),
        (None, "#N/A"),
        (None, "Err:509"),
    ],
)
async def test_a_cell_that_a_spreadsheet_has_damaged_is_refused_by_name(
    client: Client, before: str | None, cell: str
) -> None:
    field = "note" if len(before or "") < 10_000 else "text"
    plural, kind = ("claims", "claim") if field == "note" else ("articles", "article")
    answer = await client.post(f"/v1/{plural}", json={"text": "So it is", field: before})
    record = answer.json()
    asked = {"columns": f"id,version,{field}", "id__in": record["id"]}
    (row,) = await export(client, plural, **asked)
    (result,), _ = await send(client, kind, [row | {field: cell}])
    assert result["status"] == 422
    assert errors(result) == [("invalid-value", "C2")]
    assert "spreadsheet" in result["problem"]["detail"]
    assert await now(client, record, plural) == record


@pytest.mark.parametrize(
    ("before", "cell"),
    [
        ("5", "5.0"),
        ("5", "-5"),
        ("5", "$5"),
        ("1000", "1,000"),
        ("1,000", "10,000"),
        ("1,000", "1,001"),
        ("2", "2 soldiers"),
        ("3 May", "3 May 2024"),
        ("19 December 2024", "2024-12-19"),
        ("12/19/2024", "12/20/2024"),
        ("10:30", "10:45:00"),
        ("at 10:30", "10:30:00"),
        ("a b", "ab"),
        ("yes", "TRUE"),
        ("x", "#1"),
        ("x", "# A!"),
    ],
)
async def test_a_cell_that_only_a_person_writes_so_is_an_edit(
    client: Client, before: str, cell: str
) -> None:
    record = await claim(client, note=before)
    (row,) = await export(client, "claims", columns="id,version,note", id__in=record["id"])
    (result,), _ = await send(client, "claim", [row | {"note": cell}])
    assert result["status"] == 200, result
    assert (await now(client, record))["note"] == cell


@pytest.mark.parametrize(
    ("before", "cell", "is_refused"),
    [
        (1000.5, "1000.50", False),
        (1000, "1000.0", False),
        (1e14, "1E+014", False),
        (1.234, "1234", True),
        (1.5, "1,5", True),
    ],
)
async def test_a_number_that_is_written_in_another_way_is_no_edit(
    client: Client, before: float, cell: str, is_refused: bool
) -> None:
    """Unless the spreadsheet has read another number, as one in another country does."""
    figure = {"metric": "killed", "unit": "person", "qualifier": "exact", "printed": "some"}
    record = await claim(client, quantities=[{**figure, "value": before}])
    asked = {"columns": "id,version,quantity.value,note", "id__in": record["id"]}
    (row,) = await export(client, "claims", **asked)
    edited = [row | {"quantity.value": cell, "note": "mine"}]
    cells, _ = await send(client, "claim", edited, dry_run="true")
    assert [each["column"] for each in cells] == ["quantity.value" if is_refused else "note"]
    (result,), _ = await send(client, "claim", edited)
    assert result["status"] == (422 if is_refused else 200)
    assert (await now(client, record))["quantities"] == record["quantities"]


@pytest.mark.parametrize(
    ("column", "cell", "code"),
    [
        ("quantity.value", "1,5", "invalid-value"),
        ("quantity.value", "1.234,5", "invalid-value"),
        ("quantity.value", "1 234", "invalid-value"),
        ("quantity.value", "007", "invalid-value"),
        ("quantity.value", "1.2345678901234567", "invalid-value"),
        ("quantity.as_of", "19.12.2024", "invalid-value"),
        ("quantity.as_of", "12/19/24", "invalid-value"),
        ("quantity.as_of", "45645", "invalid-value"),
        ("quantity.qualifier", "exactly", "unknown-term"),
        ("embargoed_until", "19/12/2024 10:00", "invalid-value"),
        ("tags", "a, b", "invalid-value"),
        ("tags", '{"a": 1}', "invalid-value"),
        ("stated", "[]", "invalid-value"),
        ("kind", "Event", "unknown-term"),
        ("text", "", "required"),
        ("text", "x\0", "invalid-text"),
        ("parent_claim_id", "Lee", "invalid-value"),
        ("created_at", "2024-12-19", "read-only"),
        ("figure", "killed: 8", "read-only"),
        ("quantities", "[]", "not-allowed"),
        ("external_ids", '[{"namespace":"x","value":"y"}]', "not-allowed"),
    ],
)
async def test_a_cell_that_is_no_value_is_refused_by_name_and_nothing_is_guessed(
    client: Client, column: str, cell: str, code: str
) -> None:
    figure = {
        "metric": "killed",
        "unit": "person",
        "qualifier": "exact",
        "value": 7,
        "printed": "7",
        "as_of": "2024-12-19",
    }
    record = await claim(client, quantities=[figure])
    columns = ["id", "version", column, "quantity.printed", "external_id.x"]
    (row,) = await export(client, "claims", columns=",".join(columns), id__in=record["id"])
    more = {"quantities": {"quantity.printed": "8"}, "external_ids": {"external_id.x": "z"}}
    (result,), _ = await send(client, "claim", [row | {column: cell} | more.get(column, {})])
    assert result["status"] == 422, result
    place = {"quantities": "D2", "external_ids": "E2"}.get(column, "C2")
    assert (code, place) in errors(result), result["problem"]
    assert await now(client, record) == record
    (line, *_), _ = await send(
        client, "claim", [row | {column: cell} | more.get(column, {})], dry_run="true"
    )
    assert line["column"] == columns["ABCDE".index(place[0])]


async def test_curved_quotation_marks_are_refused_with_the_straight_ones_to_write(
    empty: Client,
) -> None:
    """LibreOffice puts them there while somebody types."""
    (result,), _ = await send(empty, "claim", [{"text": "x", "tags": "[\u201ca\u201d]"}])
    assert errors(result) == [("invalid-value", "B2")]
    assert "have to be straight" in result["problem"]["detail"]


@pytest.mark.parametrize(
    ("cells", "place"),
    [
        ({"quantities": '[{"²":1}]'}, "C2"),
        ({"quantities": f'[{{"{"7" * 5_000}":1}}]'}, "C2"),
        ({"quantities": "", "quantity.printed": "8"}, "D2"),
        ({"quantities": "[1]", "quantity.printed": "8"}, "D2"),
        ({"external_ids": "", "external_id.x": "z"}, "F2"),
        ({"external_ids": "[1]", "external_id.x": "z"}, "F2"),
    ],
    ids=["superscript", "long name", "emptied", "no object", "emptied ids", "no id"],
)
async def test_a_cell_that_makes_no_record_refuses_its_row_alone(
    client: Client, cells: dict[str, str], place: str
) -> None:
    more = {"external_ids": [{"namespace": "x", "value": f"{place} {json.dumps(cells)[:40]}"}]}
    record, other = await claim(client, **more), await claim(client)
    columns = "id,version,quantities,quantity.printed,external_ids,external_id.x"
    rows = [
        (await export(client, "claims", columns=columns, id__in=each["id"]))[0]
        for each in (record, other)
    ]
    rows = [rows[0] | cells, rows[1] | {"external_id.x": f"of {json.dumps(cells)[:40]}"}]
    results, _ = await send(client, "claim", rows)
    assert [result["status"] for result in results] == [422, 200]
    assert place in {cell for _, cell in errors(results[0])}
    assert await now(client, record) == record


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "The first row"),
        (b"\n1\n", "The first row"),
        (b"text,nonsense\nx,y\n", "`nonsense`"),
        (b"text,text\nx,y\n", "Two columns"),
        (b'"text"x,"y"\nx,y\n', "Row 1 has a quotation mark inside of a cell"),
        (b'text\n"x\n', "Row 2 has a cell that begins with a quotation mark, and no other"),
        (b'text\n"x"y\n', "Row 2 has a quotation mark inside of a cell"),
        (b"text\nx\ny,z\n", "Row 3 has more cells"),
        ("text\nä\n".encode("latin-1"), "Row 2 is not in UTF-8"),
        ("text\nx\n".encode("utf-16"), "UTF-16"),
        ("text\r\nx\r\n".encode("utf-16-be"), "UTF-16"),
        ("text\r\nx\r\n".encode("utf-16-le"), "UTF-16"),
        ('"text"\nx\n'.encode("utf-32-be"), "UTF-16"),
        (b"text\rx\ry", "Row 1 has a carriage return without a line feed"),
        (b"text\r\nx\ry\r\n", "Row 2 has a carriage return without a line feed"),
        (b'text\nx\n"' + b"y\n" * 600_000, "Row 3 has more than"),
        (b"text\nx\n" + b"y" * 1_100_000, "Row 3 has more than"),
    ],
)
async def test_what_is_no_table_is_refused_as_a_whole(
    empty: Client, body: bytes, told: str
) -> None:
    assert told in await refused(empty, "claim", body)
    assert await export(empty, "claims") == []


async def test_a_cell_has_so_many_characters_and_no_more(empty: Client) -> None:
    limit = csv.field_size_limit(10)
    try:
        detail = await refused(empty, "claim", b"text\n" + b"x" * 11 + b"\n")
    finally:
        csv.field_size_limit(limit)
    assert detail.startswith("Row 2 has a cell of more than 10 characters.")


async def test_a_row_has_so_many_separators_and_no_more(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are split in one call, and nothing else of the process goes on meanwhile."""
    monkeypatch.setattr(table_text, "MAX_SEPARATORS", 3)
    assert "Row 3 has more than 3 sep" in await refused(empty, "claim", b"text\na\nb,,,,\n")
    assert "Row 3 has more than 3 sep" in await refused(empty, "claim", b'text\na\n"b,,\n,,"\n')
    assert "Row 1 has more than 3 sep" in await refused(empty, "claim", b"text,,,;;;;,\t\t\t\t\n")
    _, totals = await send(empty, "claim", b"text\na,,,\nb,,,\n")
    assert totals["created"] == 2


@pytest.mark.parametrize("row", [b"\n", b"," * 999 + b"\n"], ids=["blank", "empty cells"])
def test_rows_that_say_nothing_are_read_in_pieces(row: bytes) -> None:
    """The thread is free for other work between two pieces."""
    with closing(Spool()) as body:
        body.write(b"text\n" + row * 1_000)
        *pauses, heading = read_table(body, RESOURCES[RecordType.CLAIM], 10_000)
        assert len(pauses) >= 3
        assert heading is not None
        lines = list(numbered_rows(body, heading, 10_000))
    assert sum(len(raw or b"") for _, raw in lines) >= 1_000 * len(row)


async def test_a_table_has_so_many_rows_and_no_more(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_text, "MAX_ROWS", 3)
    assert "in parts" in await refused(empty, "claim", b"text\na\n\nb\n")
    _, totals = await send(empty, "claim", b"text\na\nb\n")
    assert totals["created"] == 2


async def test_an_emptied_zero_is_emptied_and_a_text_like_the_trailer_is_a_text(
    empty: Client,
) -> None:
    record = await claim(empty, note="0")
    rows = await export(empty, "claims", columns="text,note,id,version", trailer="1")
    rows[0] |= {"text": "#count", "note": ""}
    (result,), _ = await send(empty, "claim", rows)
    assert result["status"] == 200, result
    changed = await now(empty, record)
    assert (changed["text"], changed["note"]) == ("#count", None)


async def test_an_external_id_that_can_not_be_stored_is_refused(empty: Client) -> None:
    (result,), _ = await send(empty, "claim", b"external_id.x,text\n\0,x\n")
    assert [error["code"] for error in result["problem"]["errors"]] == ["invalid-text"]
    assert "called" in await refused(empty, "claim", b"external_id.\0,text\nx,x\n")


async def test_blank_rows_are_counted_and_cells_that_are_not_there_say_nothing(
    client: Client,
) -> None:
    """Spreadsheets leave empty cells out at the end of a row, and add some."""
    record = await claim(client, note="a note", tags=["a"])
    named = f"{record['id']},1".encode()
    body = b"id,version,text,note,,\n\n,,,,,\n" + named + b",Changed\n"
    (result,), _ = await send(client, "claim", body)
    assert (result["line"], result["status"]) == (4, 200)
    changed = await now(client, record)
    assert (changed["text"], changed["note"], changed["tags"]) == ("Changed", "a note", ["a"])


# --- the first hop, the first figure, external ids -------------------------------------------


async def test_wide_columns_change_the_first_hop_and_the_first_figure(empty: Client) -> None:
    world = World(empty)
    for name in ("lee", "park", "kim"):
        await world.add("sources", name, name=name.title())
    hops = [
        {"position": 1, "source_id": "@kim", "note": "kept"},
        {"position": 0, "source_id": "@lee", "printed": "Lee", "note": "kept"},
    ]
    await world.add("claims", "said", attributions=hops)
    await world.add("claims", "bare")
    columns = (
        "id,version,attribution.source,attribution.printed,attribution.cue,quantity.metric,"
        "quantity.unit,quantity.qualifier,quantity.value,quantity.printed"
    )
    rows = await export(empty, "claims", columns=columns, sort="created_at")
    figure = {
        "quantity.metric": "killed",
        "quantity.unit": "person",
        "quantity.qualifier": "exact",
        "quantity.value": "7",
        "quantity.printed": "seven",
    }
    rows[0] |= {"attribution.source": "Park", "attribution.printed": "", **figure}
    rows[1] |= {"attribution.source": "Lee", "attribution.cue": "said"}
    results, totals = await send(empty, "claim", rows)
    assert totals["updated"] == 2, results
    said, bare = [await now(empty, {"id": world.id(name)}) for name in ("said", "bare")]
    first, second = said["attributions"]
    assert (first["source_id"], first["note"]) == (world.id("kim"), "kept")
    assert (second["source_id"], second["printed"], second["note"]) == (
        world.id("park"),
        None,
        "kept",
    )
    assert [(q["metric"], q["value"], q["printed"]) for q in said["quantities"]] == [
        ("killed", 7, "seven")
    ]
    (hop,) = bare["attributions"]
    assert (hop["source_id"], hop["cue"], hop["position"]) == (world.id("lee"), "said", 0)

    rows = await export(empty, "claims", columns=columns, sort="created_at")
    rows[0] |= dict.fromkeys(figure, "")
    _, totals = await send(empty, "claim", rows)
    assert totals["updated"] == 1
    assert (await now(empty, said))["quantities"] == []


async def test_a_missing_part_is_told_at_the_cell_that_it_belongs_to(client: Client) -> None:
    record = await claim(client)
    columns = "id,version,quantities,quantity.printed,quantity.metric"
    (row,) = await export(client, "claims", columns=columns, id__in=record["id"])
    (result,), _ = await send(client, "claim", [row | {"quantity.printed": "7"}])
    assert ("required", "E2") in errors(result)


async def test_a_column_of_external_ids_changes_those_of_its_namespace(client: Client) -> None:
    record = await claim(
        client,
        external_ids=[
            {"namespace": "desk", "value": "1"},
            {"namespace": "wire", "value": "x"},
            {"namespace": "desk", "value": "2"},
        ],
    )
    columns = "id,version,external_id.desk,external_id.new"
    (row,) = await export(client, "claims", columns=columns, id__in=record["id"])
    assert row["external_id.desk"] == '["1","2"]'
    edited = row | {"external_id.desk": '["1", "3"]', "external_id.new": "n"}
    (result,), _ = await send(client, "claim", [edited])
    assert result["status"] == 200
    pairs = [(e["namespace"], e["value"]) for e in (await now(client, record))["external_ids"]]
    assert sorted(pairs) == [("desk", "1"), ("desk", "3"), ("new", "n"), ("wire", "x")]


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("plural", ["sources", "articles"])
async def test_a_name_is_taken_if_it_is_that_of_one_source(empty: Client, plural: str) -> None:
    world = World(empty)
    await world.add("sources", "wire", name="The Wire")
    await world.add("sources", "post", name="The Post", names=[{"name": "Daily Post"}])
    await world.add("sources", "twin1", name="Twin")
    await world.add("sources", "twin2", name="Twin")
    kind, shown, field = {
        "sources": ("source", "parent", "parent_id"),
        "articles": ("article", "publisher", "publisher_id"),
    }[plural]
    more = {"name": "A desk"} if plural == "sources" else {"headline": "A headline"}
    await world.add(plural, "it", **more, **{field: "@wire"})
    it = world.id("it")
    asked = {"columns": f"id,version,{shown}", "id__in": it}
    (row,) = await export(empty, plural, **asked)
    assert row[shown] == "The Wire"
    for name, told in (
        ("Twin", [world.id("twin1"), world.id("twin2"), field]),
        ("the post", [world.id("post"), "`The Post`", field]),
        ("Daily Post", [world.id("post"), field]),
        ("Nobody", ["No source has", field]),
    ):
        (result,), _ = await send(empty, kind, [row | {shown: name}])
        assert errors(result) == [("unknown-reference", "C2")]
        assert all(each in result["problem"]["detail"] for each in told), result["problem"]
    (result,), _ = await send(empty, kind, [row | {shown: "The Post"}])
    assert result["status"] == 200
    assert (await now(empty, {"id": it}, plural))[field] == world.id("post")
    (row,) = await export(empty, plural, **asked)
    (result,), _ = await send(empty, kind, [row | {shown: ""}])
    assert (await now(empty, {"id": it}, plural))[field] is None


async def test_a_cell_that_shows_other_records_is_ignored_and_a_dry_run_says_so(
    empty: Client,
) -> None:
    """A colleague's denial, or a new name, refuses no row that somebody else edits."""
    world = World(empty)
    await world.add("sources", "lee", name="Lee")
    await world.add("claims", "said", attributions=[{"position": 0, "source_id": "@lee"}])
    rows = await export(empty, "claims")
    headers = {"content-type": "application/merge-patch+json", "if-match": "*"}
    await empty.patch(f"/v1/sources/{world.id('lee')}", content=b'{"name": "Li"}', headers=headers)
    edited = [rows[0] | {"note": "mine", "responses": "denial"}]
    cells, totals = await send(empty, "claim", edited, dry_run="true")
    assert totals["updated"] == 1
    told = {cell["column"]: cell["problem"] for cell in cells}
    assert told.pop("note") is None
    assert set(told) == {"claimant", "origin", "responses"}
    for problem in told.values():
        assert [error["code"] for error in problem["errors"]] == ["read-only"]
        assert "is ignored" in problem["detail"]
    assert {cell["column"] for cell in cells if cell["ignored"]} == set(told)
    (result,), _ = await send(empty, "claim", edited)
    assert (result["status"], result["changed"]) == (200, True)
    (result,), totals = await send(empty, "claim", rows)
    assert totals["unchanged"] == 1, result
    assert (await now(empty, {"id": world.id("said")}))["note"] == "mine"


async def test_a_name_that_its_source_had_before_is_no_edit(empty: Client) -> None:
    """Unless another source has the name by now: then nobody can tell which one is meant."""
    world = World(empty)
    await world.add("sources", "wire", name="The Wire")
    await world.add("articles", "it", headline="A headline", publisher_id="@wire")
    rows = await export(empty, "articles")
    headers = {"content-type": "application/merge-patch+json", "if-match": "*"}
    wire = f"/v1/sources/{world.id('wire')}"
    await empty.patch(wire, content=b'{"name": "The Cable"}', headers=headers)
    results, totals = await send(empty, "article", rows)
    assert totals["unchanged"] == 1, results
    results, totals = await send(empty, "article", [rows[0] | {"section": "World"}])
    assert totals["updated"] == 1, results
    article = await now(empty, {"id": world.id("it")}, "articles")
    assert (article["publisher_id"], article["section"]) == (world.id("wire"), "World")

    await world.add("sources", "other", name="The Wire")
    for row in (rows[0], *await export(empty, "articles")):
        (result,), _ = await send(empty, "article", [row | {"publisher": "The Wire"}])
        assert [code for code, _ in errors(result)] == ["unknown-reference"]
        told = result["problem"]["errors"][0]["detail"]
        assert all(each in told for each in (world.id("wire"), world.id("other"), "publisher_id"))
    assert await now(empty, article, "articles") == article
    (row,) = await export(empty, "articles", columns="id,version,publisher_id")
    (result,), _ = await send(empty, "article", [row | {"publisher_id": world.id("other")}])
    assert (await now(empty, article, "articles"))["publisher_id"] == world.id("other")


async def test_the_caller_names_and_finds_only_what_it_sees(empty: Client, empty_url: str) -> None:
    world = World(empty)
    await world.add("sources", "mole", name="Deep Throat", confidentiality="protected")
    await world.add("articles", "it", headline="A headline", publisher_id="@mole")
    (row,) = await export(empty, "articles", columns="id,version,publisher")
    scopes = (Scope.READ, Scope.IMPORT, Scope.ARTICLES_WRITE)
    empty.headers.update(bearer(await allow(empty_url, keyring.new_key(), scopes)))
    (row,) = await export(empty, "articles", columns="id,version,publisher")
    assert row["publisher"] == ""
    (result,), _ = await send(empty, "article", [row | {"publisher": "Deep Throat"}])
    assert "No source has" in result["problem"]["detail"]
    (result,), _ = await send(empty, "article", [row])
    assert result["changed"] is False
    answer = await empty.post("/v1/import?type=source", content=b"name\nx\n", headers=CSV)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


# --- the request -----------------------------------------------------------------------------


async def test_a_table_needs_a_type_and_lines_take_none(client: Client) -> None:
    for content_type, query in (("text/csv", ""), ("application/x-ndjson", "?type=claim")):
        answer = await client.post(
            f"/v1/import{query}", content=b"", headers={"content-type": content_type}
        )
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["parameter"] == "type"


async def test_the_title_of_a_problem_fits_a_table(empty: Client) -> None:
    (result,), _ = await send(empty, "claim", b"text,kind\nx,bad\n")
    assert result["problem"]["title"] == "What you sent is not a valid record."


@pytest.mark.parametrize(
    "content_type",
    [
        "text/csv; charset=utf-8; header=present",
        "text/csv;header=present",
        'Text/CSV; header="present" ; Charset="UTF-8"',
        "text/csv;charset=UTF-8;",
    ],
)
async def test_a_table_may_say_its_character_set_and_that_it_has_a_heading(
    empty: Client, content_type: str
) -> None:
    """RFC 7111, section 5.1, registers these two parameters."""
    answer = await empty.post(
        "/v1/import?type=claim", content=b"text\nx\n", headers={"content-type": content_type}
    )
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.text.splitlines()[-1])["totals"]["created"] == 1


@pytest.mark.parametrize(
    ("content_type", "told"),
    [
        ("text/csv; charset=windows-1252", "UTF-8, not in `windows-1252`"),
        ("text/csv; header=present; charset=utf-16", "UTF-8, not in `utf-16`"),
        ("text/csv; header=absent", "`header=present`"),
        ("text/csv; charset=utf-8; charset=latin1", "Content-Type"),
        ("text/csv; x=y", "Content-Type"),
        ("text/csv; charset", "Content-Type"),
        ("text/csv; charset=utf-8, text/csv", "Content-Type"),
        ("application/x-ndjson; header=present", "Content-Type"),
    ],
)
async def test_a_table_in_another_character_set_is_refused_with_the_way_out(
    empty: Client, content_type: str, told: str
) -> None:
    answer = await empty.post(
        "/v1/import?type=claim", content=b"text\nx\n", headers={"content-type": content_type}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert told in answer.json()["detail"]
    assert await export(empty, "claims") == []


async def test_rows_are_written_in_batches_as_lines_are(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in parts, where the records with which they are compared are large together."""
    monkeypatch.setattr(batches, "MAX_LINES", 4)
    monkeypatch.setattr(comparing, "MAX_COMPARED_BYTES", 2_500)
    for number in range(10):
        await claim(empty, text=f"Claim {number}")
    rows = await export(empty, "claims", columns="id,version,text,note")
    results, totals = await send(empty, "claim", [{**row, "note": "x"} for row in rows])
    assert totals["updated"] == 10
    assert [result["line"] for result in results] == list(range(2, 12))


async def test_the_former_versions_of_records_count_for_the_size_of_a_part(
    empty: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows at an old version are compared with what the records were, however small they are."""
    articles = [
        (await empty.post("/v1/articles", json={"text": f"{number}" * 9_000})).json()
        for number in range(4)
    ]
    rows = await export(empty, "articles", columns="id,version,section")
    for each in articles:
        answer = await empty.patch(
            f"/v1/articles/{each['id']}",
            content=b'{"text": "Short"}',
            headers={"content-type": "application/merge-patch+json", "if-match": "*"},
        )
        assert answer.status_code == 200
    read_before, parts = comparing._read_before, []  # noqa: SLF001

    async def noted(run: Any, compared: Any) -> Any:
        parts.append(len(compared))
        return await read_before(run, compared)

    monkeypatch.setattr(comparing, "MAX_COMPARED_BYTES", 25_000)
    monkeypatch.setattr(comparing, "_read_before", noted)
    _, totals = await send(empty, "article", [{**row, "section": "World"} for row in rows])
    assert (totals["updated"], parts) == (4, [2, 2])


async def test_two_rows_of_one_record_are_compared_one_after_the_other(client: Client) -> None:
    record = await claim(client, note="a note")
    asked = {"columns": "id,version,text,note", "id__in": record["id"]}
    (row,) = await export(client, "claims", **asked)
    rows = [row | {"note": "mine"}, row | {"text": "Mine"}, row | {"note": "yours"}]
    results, _ = await send(client, "claim", rows)
    assert [result["status"] for result in results] == [200, 200, 412]
    changed = await now(client, record)
    assert (changed["note"], changed["text"], changed["version"]) == ("mine", "Mine", 3)


async def test_two_rows_of_one_record_at_an_old_version_are_both_compared_with_it(
    empty: Client,
) -> None:
    """One names it by its id and one by its external id, so they are looked up together."""
    record = await claim(empty, note="a note", external_ids=[{"namespace": "x", "value": "1"}])
    (row,) = await export(empty, "claims", columns="id,external_id.x,version,text,note,kind")
    answer = await empty.patch(
        f"/v1/claims/{record['id']}",
        content=b'{"kind": "event"}',
        headers={"content-type": "application/merge-patch+json", "if-match": "*"},
    )
    assert answer.status_code == 200
    rows = [row | {"note": "mine"}, row | {"id": "", "text": "Mine"}]
    results, _ = await send(empty, "claim", rows)
    assert [result["status"] for result in results] == [200, 200], results
    changed = await now(empty, record)
    assert (changed["note"], changed["text"], changed["kind"]) == ("mine", "Mine", "event")
