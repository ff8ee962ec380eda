"""What the records are: Structs, their parts, their vocabularies and their rules."""
