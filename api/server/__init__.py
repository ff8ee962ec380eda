"""Running the service: its socket, its processes, HTTP, the edge, the log and the metrics."""
