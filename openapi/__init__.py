"""The published OpenAPI document, byte for byte as the server gives it."""
