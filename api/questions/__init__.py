"""The questions of an editor, each answered in one request of bounded cost."""
