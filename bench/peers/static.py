"""The ceilings: bytes that are ready, by Litestar, or by an ASGI application alone.

It runs with the packages of the service, as `static.py litestar|asgi DIRECTORY`; each path is
answered with the file of its name.
"""

import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, Response, get

BODIES = {f"/{file.name}": file.read_bytes() for file in Path(sys.argv[2]).iterdir()}


@get("/{name:str}")
async def answer(name: str) -> Response[bytes]:
    """Answer with a file."""
    return Response(BODIES[f"/{name}"], media_type="application/json")


async def bare(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001 - ASGI
    """Answer with a file."""
    body = BODIES.get(scope["path"], b"")
    size = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


uvicorn.run(
    Litestar([answer], openapi_config=None) if sys.argv[1] == "litestar" else bare,
    port=int(os.environ["PORT"]),
    lifespan="off",
    access_log=False,
    log_level="warning",
)
