"""Errors of the `polymodal` command that are for people."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from rich.console import Console


def explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors that are the user's to mend end with their message and status 2."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from trainer.config import UserError

        try:
            return function(*args, **kwargs)
        except (UserError, FileExistsError) as error:
            Console(stderr=True).print(
                f"error: {error}", style="red", markup=False, soft_wrap=True
            )
            sys.exit(2)

    return wrapper
