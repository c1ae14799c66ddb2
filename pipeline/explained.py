"""Errors of the `polymodal` command that are for people: one sentence, no traceback."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

INTERRUPTED = 130
"""128 + SIGINT, as a shell says it."""
BROKEN_PIPE = 141
"""128 + SIGPIPE, as of a program that does not catch it."""

# Errors of `serving`, which knows nothing of ours: module and class.
_SERVING = (
    ("serving.client_base", "ClientError"),
    ("serving.rows", "RowError"),
    ("serving.status", "ServingError"),
    ("serving.media_error", "MediaError"),
)
# How Beam tells, in a text of its own, what a worker met.
_IN_WORKER = re.compile(r"\b\w*Error: \[Errno \d+\] ([^\n\[]+)")


class ExplainedGroup(click.Group):
    """A group of commands; every error that a user can mend ends as a sentence.

    Exit status: 2 for such errors, 130 after Ctrl-C, 141 where the reader of the output
    has gone.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that was asked for."""
        with explaining():
            return super().invoke(ctx)


@contextmanager
def explaining() -> Iterator[None]:
    """Ends the process with a sentence where an error is the user's to mend."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # What is still to be flushed has no reader either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(BROKEN_PIPE)
    except (click.exceptions.Exit, click.Abort, click.ClickException):
        raise  # click's own, with their own statuses
    except Exception as error:
        said = sentence(error)
        if said is None:
            raise
        from rich.console import Console

        Console(stderr=True).print(
            f"error: {said}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(2)


def sentence(error: BaseException) -> str | None:
    """What a user can be told of an error; None where it is no user's to mend."""
    from pipeline.outputs import DISK_ERRORS, reason
    from trainer.config import UserError

    if isinstance(error, UserError) or _is_servings(error):
        return str(error)
    if isinstance(error, OSError):
        if error.filename is not None:
            return f"cannot read or write {error.filename}: {reason(error)}"
        if error.errno in DISK_ERRORS:
            return f"cannot write: {reason(error)}"
        return reason(error)
    if (found := _file_system(error)) is not None:
        return found
    if isinstance(error, RuntimeError) and (told := _IN_WORKER.search(str(error))):
        return f"cannot read or write: {told[1].strip()}"
    return None if error.__cause__ is None else sentence(error.__cause__)


def _is_servings(error: BaseException) -> bool:
    """Importing them takes seconds: what was never imported was never raised."""
    return any(
        isinstance(error, getattr(sys.modules[module], name, ()))
        for module, name in _SERVING
        if module in sys.modules
    )


def _file_system(error: BaseException) -> str | None:
    """TensorFlow's `PATH; No such file or directory` and the like."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    path, separator, why = error.message.rpartition("; ")
    reasons = {os.strerror(number) for number in range(1, 134)}
    if not separator or why not in reasons:
        return None
    return f"cannot read or write {path.split()[-1]}: {why}"
