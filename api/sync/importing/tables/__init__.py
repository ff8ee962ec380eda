"""Tables: records of one type, from CSV that was exported and edited, or is new."""
