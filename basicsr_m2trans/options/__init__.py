"""What an option file may hold, described once; checks and the JSON schema for editors both follow
from it.

`sections` has the table of keys, `walk` compares a file with it, `relations` checks what keys say
about each other, `building` what the classes say that a file names, `files` and `images` what is on
the disk. `option_file` reads a file with its line numbers, merges changes into it and writes the
report. `plan` is the table of keys of plans, which `m2trans compare` reads.
"""
