"""What is promised, tested over HTTP on a real Postgres."""
