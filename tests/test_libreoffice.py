"""Tables that come back from LibreOffice itself: only what somebody typed is a change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from api.exchange.cells import unescaped
from tests import office
from tests.conftest import KEY, PATIENCE, allow, bearer, cloned
from tests.office import AS_TEXT, OPENINGS, Office
from tests.test_cli import serving
from tests.test_table_import import CSV, read

pytestmark = pytest.mark.outside

VIA: Final = (None, ".xlsx", ".ods")
LOCALES: Final = ("en-US", "de-DE")


@pytest.fixture(scope="session")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Office]]:
    """Run LibreOffice for somebody in each of some countries."""
    with ExitStack() as stack:
        yield {
            locale: stack.enter_context(office.running(tmp_path_factory.mktemp("office"), locale))
            for locale in LOCALES
        }


@pytest.fixture(scope="module")
def client(template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serve the sample records over HTTP."""
    with asyncio.Runner() as runner:
        database = cloned(template)
        url = runner.run(database.__aenter__())
        runner.run(allow(url))
        try:
            directory = tmp_path_factory.mktemp("served")
            with (
                serving(directory, "--demo", DATABASE_URL=url) as service,
                httpx.Client(
                    base_url=service.address, headers=bearer(KEY), timeout=PATIENCE, trust_env=False
                ) as client,
            ):
                yield client
        finally:
            runner.run(database.__aexit__(None, None, None))


def column(number: int) -> str:
    """Name a column as spreadsheets do, from 0."""
    first, second = divmod(number, 26)
    return (chr(ord("A") + first - 1) if first else "") + chr(ord("A") + second)


def export(client: httpx.Client, **asked: str) -> bytes:
    answer = client.get("/v1/claims", params={"format": "csv", **asked})
    assert answer.status_code == 200, answer.text
    return answer.content


def send(
    client: httpx.Client, table: bytes, *, dry_run: bool = False
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    params = {"type": "claim", "dry_run": str(dry_run).lower()}
    answer = client.post("/v1/import", params=params, content=table, headers=CSV)
    assert answer.status_code == 200, answer.text
    *results, last = [json.loads(line) for line in answer.text.splitlines()]
    return results, last["totals"]


def problems(results: list[dict[str, Any]]) -> list[str]:
    """List why rows or cells were refused, or ignored."""
    return [each["problem"]["detail"] for each in results if each["problem"]]


def records(client: httpx.Client) -> dict[str, bytes]:
    """Give the bytes of all claims, by their ids."""
    answer = client.get("/v1/claims", params={"format": "ndjson"})
    return {json.loads(line)["id"]: line for line in answer.content.splitlines()[:-1]}


def addresses(table: bytes, edits: dict[tuple[int, str], str]) -> dict[str, str]:
    """Name the cells of edits by their addresses."""
    names = list(read(table.decode().removeprefix("\ufeff"))[0])
    return {f"{column(names.index(name))}{row}": text for (row, name), text in edits.items()}


@pytest.mark.parametrize("via", VIA)
@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("locale", LOCALES)
def test_five_typed_cells_of_the_sample_claims_are_five_changes(
    client: httpx.Client,
    offices: dict[str, Office],
    locale: str,
    opening: str,
    via: str | None,
) -> None:
    """In a dry run and for real; everything else keeps its bytes."""
    bom = {"bom": "1"} if via is None else {}
    table = export(client, wide="1", trailer="1", sort="created_at", **bom)
    rows = read(table.decode().removeprefix("\ufeff"))
    tag = uuid4().hex
    source = "Volodymyr Zelensky"
    if rows[3]["attribution.source"] == source:
        source = "North Korea"
    edits = {
        (2, "note"): f"=see {tag}",
        (3, "tags"): f'["casualties", "{tag}"]',
        (5, "attribution.source"): source,
        (9, "review_status"): "draft" if rows[7]["review_status"] == "in_review" else "in_review",
    }
    figure = next(n for n, row in enumerate(rows, start=2) if n > 9 and row["quantity.printed"])
    edits[figure, "quantity.printed"] = f"some {tag}"
    typed = addresses(table, edits | {(2, "note"): f"'=see {tag}"})
    back = offices[locale].trip(table, opening, typed, via)
    was = {(row, name): unescaped(rows[row - 2][name]) or None for row, name in edits}

    before = records(client)
    cells, totals = send(client, back, dry_run=True)
    assert (totals["updated"], totals["unchanged"]) == (5, len(rows) - 1 - 5), problems(cells)
    told = {(each["row"], each["column"]): (each["was"], each["becomes"]) for each in cells}
    assert told == {place: (was[place], text) for place, text in edits.items()}
    assert records(client) == before
    _, totals = send(client, back)
    assert (totals["updated"], totals["unchanged"]) == (5, len(rows) - 1 - 5)
    after = records(client)
    changed = {rows[row - 2]["id"]: name for row, name in edits}
    assert {identity for identity in before if before[identity] != after[identity]} == set(changed)
    for identity, name in changed.items():
        old, new = json.loads(before[identity]), json.loads(after[identity])
        field = {"attribution": "attributions", "quantity": "quantities"}.get(
            name.partition(".")[0], name
        )
        assert {each for each in old if old[each] != new[each]} == {field, "version", "updated_at"}


@pytest.mark.parametrize("via", VIA)
def test_a_row_that_others_have_changed_is_a_conflict(
    client: httpx.Client, offices: dict[str, Office], via: str | None
) -> None:
    table = export(client, wide="1", sort="created_at")
    rows = read(table.decode())
    (mine, ours), tag = (rows[5], rows[6]), uuid4().hex
    for row in (mine, ours):
        answer = client.patch(
            f"/v1/claims/{row['id']}",
            content=json.dumps({"note": f"theirs {tag}"}),
            headers={"content-type": "application/merge-patch+json", "if-match": "*"},
        )
        assert answer.status_code == 200
    edits = {(7, "note"): f"mine {tag}", (8, "attribution.cue"): f"said {tag}"}
    back = offices["en-US"].trip(table, AS_TEXT, addresses(table, edits), via)
    results, totals = send(client, back)
    assert (totals["updated"], totals["refused"]) == (1, 1), problems(results)
    (problem,) = [each for each in results if each["problem"]]
    assert (problem["line"], problem["status"]) == (7, 412)
    assert f"theirs {tag}" in problem["problem"]["detail"]
    kept, merged = (client.get(f"/v1/claims/{row['id']}").json() for row in (mine, ours))
    assert kept["note"] == merged["note"] == f"theirs {tag}"
    assert merged["attributions"][0]["cue"] == f"said {tag}"


HARD: Final = (
    *("=1+1", '=HYPERLINK("https://x.example")', "'=1", "-5", "+49 30 1", "@x", "'tis", "''"),
    *('say "no", or; not', '"', "one\ntwo", "one\r\ntwo\r\n", "a\tb", "\ttab", " in blanks  "),
    *(
        "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1f0\U0001f1f7",
        "e\u0301",
        "\ufeffx",
        "x\u2028y",
    ),
    *(
        "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "\u200fx",
        "\u0661\u0662\u0663",
        "_x0041_",
        "x\u0001y",
    ),
    *("007", "0", "5", "0.1", "1.50", "1,000", "1.234", "1.5", ".5", "5.", "1e5", "1E400", " 5 "),
    *("12345678901234567890", "1234567890123456", "123456789012345", "0.30000000000000004"),
    *("50%", "$5", "\u20ac 5", "(5)", "5-", "1 000", "1\u00a0000", "1'000", "0x1F", "nan"),
    *("2024-12-19", "2024-12", "2024-12-19T10:00:00Z", "12/19/2024", "19.12.2024", "1/2", "3-4"),
    *("1.5.", "10:30", "10:30:00", "May 2024", "3 May", "MARCH1", "1 1/2", "12/2024"),
    *("true", "TRUE", "false", "wahr", "#N/A", "#NAME?", "Err:508", '["a", "b"]', "[1, 2]", "{}"),
)
"""Texts that spreadsheets like to take for something else."""


@pytest.fixture(scope="module")
def hard(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Create a claim for each hard text, under external ids that look like numbers."""
    made = {}
    for number, text in enumerate(HARD):
        body = {
            "text": text,
            "note": text,
            "tags": ["hard"],
            "external_ids": [{"namespace": "desk", "value": f"00{number}"}],
        }
        answer = client.post("/v1/claims", json=body)
        assert answer.status_code == 201, answer.text
        made[answer.json()["id"]] = answer.json()
    return made


@pytest.mark.parametrize("via", VIA)
@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("locale", LOCALES)
def test_a_hard_cell_comes_back_as_it_was_or_is_refused_by_name(
    client: httpx.Client,
    offices: dict[str, Office],
    hard: dict[str, dict[str, Any]],
    locale: str,
    opening: str,
    via: str | None,
) -> None:
    """With all columns as text, all come back but the characters that an .ods file leaves out."""
    asked = {"columns": "id,version,text,note,tags,created_at", "tag": "hard", "sort": "created_at"}
    table = export(client, **asked)
    before = records(client)
    results, totals = send(client, offices[locale].trip(table, opening, via=via))
    assert records(client) == before
    assert totals["updated"] == totals["created"] == 0
    refused = {each["line"]: each["problem"] for each in results if each["problem"]}
    assert totals["unchanged"] + len(refused) == len(hard) == totals["lines"]
    for line, problem in refused.items():
        assert problem["errors"], problem
        for error in problem["errors"]:
            assert error["detail"].startswith(
                (f"C{line}: A spreadsheet", f"D{line}: A spreadsheet")
            )
    texts = {HARD[line - 2] for line in refused}
    if opening == AS_TEXT:
        assert texts == ({"a\tb", "\ttab", "x\u0001y"} if via == ".ods" else set())


@pytest.mark.parametrize("via", VIA)
def test_a_text_that_is_cut_off_is_refused_by_name(
    client: httpx.Client, offices: dict[str, Office], via: str | None
) -> None:
    made = [client.post("/v1/articles", json={"text": "x" * size}) for size in (33_000, 66_000)]
    paths = [f"/v1/articles/{answer.json()['id']}" for answer in made]
    before = [client.get(path).content for path in paths]
    asked: dict[str, str | list[str]] = {
        "format": "csv",
        "columns": "id,version,text,section",
        "id__in": [path.rpartition("/")[2] for path in paths],
        "sort": "created_at",
    }
    table = client.get("/v1/articles", params=asked).content
    back = offices["en-US"].trip(table, AS_TEXT, via=via)
    answer = client.post("/v1/import?type=article", content=back, headers=CSV)
    *results, last = [json.loads(line) for line in answer.text.splitlines()]
    assert last["totals"]["lines"] == len(made)
    cut = [f"`/data/text`: C{line}: A spreadsheet has cut" for line in (2, 3)]
    cut = cut if via == ".xlsx" else cut[1:]
    assert [each.partition(" the text off")[0] for each in problems(results)] == cut
    assert [client.get(path).content for path in paths] == before
