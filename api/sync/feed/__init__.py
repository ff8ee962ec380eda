"""The change feed: its numbering, its pages, its live stream."""
