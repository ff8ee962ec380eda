"""Matching: which records may already say what a text says, or be whom a name means.

`vocabulary` keeps the words of public records with their frequencies, in the background; `counting`
has its SQL. `texts` and `terms` turn a text into weighted words, `candidates` reads the claims that
have the rarest of them, and `scoring` compares these with the text. `claims` has the operations.
`names` compares names of sources, and `sources` finds sources by them. `pairing` searches, in the
background, for sources that may be the same: `pairs` finds them, and `duplicates` lists them.
"""
