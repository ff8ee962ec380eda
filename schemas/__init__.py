"""The data that clients send and get: Structs, their parts, vocabularies and rules."""
