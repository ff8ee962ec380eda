"""The process: socket, workers, edge, logs and metrics."""
