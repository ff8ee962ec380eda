"""The OpenAPI 3.1 document, built from the definitions that the service runs on."""

from api.document.document import build, describe, routes
from api.document.operations import Link, Operation

__all__ = ["Link", "Operation", "build", "describe", "routes"]
