"""How much memory the embedded Postgres takes: a part of what the machine or its container has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from api.embedded import EmbeddedPostgres, memory

GIB = 1024**3
UNLIMITED = 9223372036854771712  # as version 1 writes it


@pytest.mark.parametrize(
    ("total", "buffers"),
    [
        (256 * 1024**2, memory.MIN_BUFFERS),
        (2 * GIB, GIB // 2),
        (3 * GIB, GIB * 3 // 4),
        (1024 * GIB, memory.MAX_BUFFERS),
    ],
)
def test_a_quarter_of_the_memory_is_for_buffers_within_limits(total: int, buffers: int) -> None:
    assert memory.buffers_of(total) == buffers


@pytest.mark.parametrize(
    ("membership", "files", "limits"),
    [
        ("0::/\n", {"memory.max": str(2 * GIB)}, [2 * GIB]),
        ("0::/\n", {"memory.max": "max"}, []),
        ("0::/\n", {}, []),
        (
            "0::/system.slice/records.service\n",
            {
                "system.slice/records.service/memory.max": "max",
                "system.slice/memory.max": str(4 * GIB),
            },
            [4 * GIB],
        ),
        (
            "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n",
            {"memory/memory.limit_in_bytes": str(GIB), "memory.max": "7"},
            [GIB],
        ),
        (
            "4:memory:/a/b\n",
            {
                "memory/a/b/memory.limit_in_bytes": str(3 * GIB),
                "memory/memory.limit_in_bytes": str(UNLIMITED),
            },
            [3 * GIB, UNLIMITED],
        ),
    ],
)
def test_every_control_group_above_limits_the_memory(
    tmp_path: Path, membership: str, files: dict[str, str], limits: list[int]
) -> None:
    groups = tmp_path / "cgroup"
    for name, content in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{content}\n")
    (tmp_path / "membership").write_text(membership)
    assert list(memory.cgroup_limits(tmp_path / "membership", groups)) == limits


def test_there_are_no_control_groups_outside_of_linux(tmp_path: Path) -> None:
    assert list(memory.cgroup_limits(tmp_path / "missing", tmp_path)) == []


def test_a_server_takes_what_a_container_of_this_size_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")

    async def shown(url: str) -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval("SHOW shared_buffers"))
        finally:
            await connection.close()

    with EmbeddedPostgres(tmp_path / "data", fsync=False) as server:
        assert asyncio.run(shown(server.url())) == "256MB"
