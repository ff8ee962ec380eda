"""The record types: how each can be listed, its operations, and the one list of them."""
