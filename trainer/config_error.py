"""Errors that the reader of their message can mend."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """An error that the reader of its message can mend: shown without a traceback."""


class ConfigError(UserError, ValueError):
    """A config that cannot be used; `problems` lists all that is wrong with it."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {p}" for p in problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        super().__init__(f"{source}: {count}\n{lines}")
