"""What every noun stands on: requests, errors, SQL, filters, cursors, resources, OpenAPI."""
