"""The record types: how each can be listed, and its operations."""
