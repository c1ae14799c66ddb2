"""The server's command line, in TF Serving's spelling.

`--name=value` and `--name value`; a boolean alone means true. Only flags that do
something here are known, with TF Serving's names and defaults.
"""

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class FlagError(ValueError):
    """A command line that cannot be understood; the message says what would be."""


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError
    return text.lower() in ("true", "1")


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if int(text) < least:
            raise ValueError
        return int(text)

    return parse


@dataclass(frozen=True)
class Flag:
    """One flag: how to read its value, what it is by default and what it does."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    expected: str
    help: str


_NATURAL, _POSITIVE = _at_least(0), _at_least(1)

FLAGS = (
    Flag("port", _NATURAL, 8500, "a port number", "gRPC port; 0 picks a free one"),
    Flag("rest_api_port", _NATURAL, 0, "a port number", "HTTP/REST port; 0 is off"),
    Flag("model_name", str, "default", "a name", "name that clients ask for"),
    Flag("model_base_path", str, "", "a path or URL", "folder of version folders"),
    Flag(
        "file_system_poll_wait_seconds",
        _NATURAL,
        1,
        "a whole number of seconds",
        "pause between looks for new versions; 0 looks once",
    ),
    Flag(
        "max_num_load_retries",
        _NATURAL,
        5,
        "a whole number",
        "how often a version that cannot be loaded is tried again",
    ),
    Flag(
        "load_retry_interval_micros",
        _NATURAL,
        60_000_000,
        "a whole number of microseconds",
        "pause between these tries",
    ),
    Flag(
        "enable_model_warmup",
        _boolean,
        True,
        "true or false",
        "run the requests in assets.extra before a version serves",
    ),
    Flag(
        "grpc_max_threads",
        _POSITIVE,
        4 * (os.cpu_count() or 1),
        "a positive whole number",
        "requests that are answered at a time",
    ),
)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Flag name -> value, with defaults for those not given.

    Raises:
        FlagError: an unknown flag, a missing or unusable value, a stray word.
    """
    known = {flag.name: flag for flag in FLAGS}
    values = {flag.name: flag.default for flag in FLAGS}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise FlagError(f"expected a flag like --port=8500, got {word!r}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = " or ".join(f"--{one}" for one in near)
            raise FlagError(
                f"unknown flag --{name}."
                + (f" Did you mean {hint}?" if near else "")
                + " Known: "
                + ", ".join(f"--{one}" for one in known)
            )
        flag = known[name]
        if not equals:
            if flag.parse is _boolean:
                text = "true"
            elif rest:
                text = rest.pop(0)
            else:
                raise FlagError(f"--{name} expects {flag.expected} after it")
        try:
            values[name] = flag.parse(text)
        except ValueError as error:
            raise FlagError(
                f"--{name} expects {flag.expected}, got {text!r}"
            ) from error
    return values


def usage() -> str:
    """What `--help` prints."""
    lines = ["usage: python -m serving.server --model_base_path=PATH [flags]", ""]
    for flag in FLAGS:
        lines.append(f"  --{flag.name} (default {flag.default!r}): {flag.help}")
    return "\n".join(lines)
