"""Stopping: Ctrl-C and SIGTERM end a command in order, with a word on how far it came."""

from __future__ import annotations

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM, as shells have them: 128 and the signal's number."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops as Ctrl-C does."""


class Stopped(Exception):
    """A command that was stopped, and how far it came."""

    def __init__(self, message: str, cause: KeyboardInterrupt) -> None:
        super().__init__(message)
        self.code = TERMINATED if isinstance(cause, Terminated) else INTERRUPTED
