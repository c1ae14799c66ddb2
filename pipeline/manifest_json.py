"""One line of a JSON lines manifest, and files that are JSON of another kind."""

from __future__ import annotations

import json
from typing import Any

from pipeline.manifest_records import BadRow


def read_line(line: bytes) -> dict[str, Any] | BadRow:
    """The cells of one line."""
    try:
        cells = json.loads(
            line.decode("utf-8").rstrip("\r\n"), object_pairs_hook=_object
        )
    except UnicodeDecodeError:
        return BadRow("not_utf8", "not UTF-8 text; save the manifest as UTF-8.")
    except RecursionError:
        return BadRow("malformed_json", "nested too deeply to be read.")
    except json.JSONDecodeError as error:
        # Its own sentence counts lines, of which there is one.
        return BadRow(
            "malformed_json",
            f"expected one JSON object per line: {error.msg} at character"
            f" {error.pos + 1}.",
        )
    except ValueError as error:
        return BadRow("malformed_json", f"expected one JSON object per line: {error}.")
    if not isinstance(cells, dict):
        return BadRow(
            "malformed_json",
            f"expected a JSON object. Received: {type(cells).__name__}",
        )
    if any(name != name.strip() for name in cells):
        cells = {name.strip(): cell for name, cell in cells.items()}
    return cells


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:80]!r} stands twice")
    return found


def other_json(first: bytes) -> str:
    """What a file is that does not begin with a row; empty where it may.

    Args:
      first: The first line that is not empty.
    """
    begin = first.strip()
    if begin.startswith(b"["):
        return (
            "is one JSON array; write one JSON object per line (`jq -c '.[]' FILE`, or"
            " pandas' to_json(orient='records', lines=True))."
        )
    if begin == b"{":
        return (
            "holds JSON objects over several lines; write each on one line"
            " (`jq -c . FILE`)."
        )
    return ""
