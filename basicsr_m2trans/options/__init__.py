"""What an option file may hold, described once; checks and JSON schemas both follow from it.

`sections` has the table of keys, made of the types of `values`, which check what a file holds, and
of the signatures of registered classes (`signatures`); `relations` checks what keys say about each
other, `files` looks for what they name, `building` builds it. `checks` puts all of it together.

msgspec's typed structures (0.22) would be shorter, but decoding stops at the first mistake and
names no line; here all mistakes are told at once, each with its line and likely meant names.
"""
