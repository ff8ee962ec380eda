"""The forms in which records leave beside JSON: lines, tables and places on a map."""
