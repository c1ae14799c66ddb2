"""The server's command line, in TF Serving's spelling.

`--name=value` and `--name value`; a boolean alone means true. Names and defaults are
those of tensorflow_model_server 2.16. Only flags that do something here are known; its
other flags are refused with the reason.
"""

import difflib
from collections.abc import Sequence
from typing import Any

from serving.flag_table import ABSENT, FLAGS, GROUPS
from serving.flag_types import Flag, boolean


class FlagError(ValueError):
    """A command line that cannot be understood; the message says what would be."""


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Flag name -> value, with defaults for those not given.

    Raises:
        FlagError: an unknown flag, a missing or unusable value, a stray word.
    """
    values = {flag.name: flag.default for flag in FLAGS.values()}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise FlagError(f"expected a flag like --port=8500, got {word!r}")
        flag = _find(name)
        if not equals:
            if flag.parse is boolean:
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


def _find(name: str) -> Flag:
    if name in FLAGS:
        return FLAGS[name]
    if name in ABSENT:
        raise FlagError(
            f"--{name} is a flag of tensorflow_model_server that this server does not "
            f"have: {ABSENT[name]}"
        )
    near = difflib.get_close_matches(name, FLAGS, n=3)
    if near:
        hint = "Did you mean " + " or ".join(f"--{one}" for one in near) + "?"
    else:
        hint = "Known: " + ", ".join(f"--{one}" for one in FLAGS)
    raise FlagError(f"unknown flag --{name}. {hint}")


def usage() -> str:
    """What `--help` prints."""
    lines = ["usage: python -m serving.server --model_base_path=PATH [flags]"]
    for title, flags in GROUPS.items():
        lines += ["", f"{title}:"]
        for flag in flags:
            lines.append(f"  --{flag.name} (default {flag.default_text()})")
            lines.append(f"      {flag.help}")
    return "\n".join(lines)


def table() -> str:
    """The flags as Markdown; docs/serving.md holds it, and a test that it does."""
    lines = ["| flag | default | effect |", "|---|---|---|"]
    for title, flags in GROUPS.items():
        lines.append(f"| **{title}** | | |")
        for flag in flags:
            mark = " +" if flag.ours else ""
            default = f"`{flag.default_text()}`"
            if flag.shown or default == "`empty`":
                default = flag.shown
            lines.append(f"| `{flag.name}`{mark} | {default} | {flag.help} |")
    return "\n".join(lines)
