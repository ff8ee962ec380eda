"""stub for now."""

from litestar import post

from api.core.request import Answer, Request


@post("/v1/import", operation_id="importRecords", status_code=200)
async def import_records(request: Request) -> Answer:
    """Import."""
    return Answer()
