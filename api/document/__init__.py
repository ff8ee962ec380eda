"""The OpenAPI 3.1 document, built from the definitions that the service runs on."""

from api.document.document import build, describe
from api.document.route import routes

__all__ = ["build", "describe", "routes"]
