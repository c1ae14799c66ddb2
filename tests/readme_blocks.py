"""The fenced blocks of a Markdown file, with the comments that say how they are run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:^<!-- test: (?P<need>[^\n]*?) -->\n)?^```(?P<kind>[a-z]+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block, and what its comment says that it needs."""

    kind: str
    need: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.kind}-line-{self.line}"


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0
    return [
        Block(
            found["kind"],
            found["need"] or "",
            found["text"],
            text[: found.start("kind")].count("\n") + 1,
        )
        for found in FENCE.finditer(text)
    ]
