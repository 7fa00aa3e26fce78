"""Call logs of allocators against their contract's clauses: JSON lines, glibc's mtrace, ltrace-like text.

The one idea: whatever the format, a log is a stream of calls about blocks; who allocates is judged by what was live at
each call. Nothing of accepted calls is kept but live blocks, so a log may be of any length.
"""
