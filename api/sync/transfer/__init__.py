"""Transfer: records between a service and a file, over the public API."""
