"""`make prove`: sell the last three credits of many clients, and kill everything meanwhile.

A stack of its own whose parts can be killed and frozen, callers that keep a log, and the counting that holds the log
against the databases. The fault campaign of the tests stands on the same stack.
"""

STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""
