"""The head of a first config, with what a person should look at beside it."""

from __future__ import annotations

import re

import yaml

from pipeline.column_label import Label, doubtful

_UNEVEN = 5
"""Times that the commonest class has more rows than the rarest, to be worth a word."""
_FEW_ROWS = 5
_MANY_NUMBERS = 20


def head_lines(label: Label, name: str) -> list[str]:
    """The section `heads:` of one head.

    Args:
      label: What is predicted.
      name: Of the head.
    """
    lines = ["heads:", f"  - name: {scalar(name)}  # {label.why}"]
    lines.append(f"    kind: {'regression' if label.regression else 'classification'}")
    if name != label.column:
        lines.append(f"    column: {scalar(label.column)}")
    lines += [f"    # Review: {flat(note)}" for note in label.notes]
    if label.classes:
        lines += _classes(label)
    if label.separator:
        lines.append("    multi_label: true")
        lines.append(f"    separator: {scalar(label.separator, quoted=True)}")
    if label.missing:
        rows = "rows have" if label.missing > 1 else "row has"
        lines.append(f"    allow_missing: true  # {label.missing:,} {rows} no label")
    return lines


def _classes(label: Label) -> list[str]:
    """The classes, with what is doubtful beside each."""
    doubts = doubtful(label)
    lines = ["    classes:"]
    for one in label.classes:
        doubt = f"  # review: {flat(doubts[one])}" if one in doubts else ""
        lines.append(f"      - {scalar(one, quoted=True)}{doubt}")
    digits = all(name.isdigit() for name in label.classes)
    if len(label.classes) > 2 and digits:
        lines.append("    # If the order of the classes counts: kind: ordinal.")
    if len(label.classes) > _MANY_NUMBERS and digits:
        lines.append("    # If these are quantities: kind: regression, no classes.")
    return lines + _imbalance(label)


def _imbalance(label: Label) -> list[str]:
    """What to say of classes of which some are much rarer than others."""
    counts = label.classes
    most, least = (
        max(counts, key=counts.__getitem__),
        min(counts, key=counts.__getitem__),
    )
    lines = []
    rare = [name for name, count in counts.items() if count < _FEW_ROWS]
    if rare:
        listed = ", ".join(f"{flat(name)[:20]} ({counts[name]})" for name in rare[:5])
        more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
        lines.append(f"    # Review: too few rows to learn and judge: {listed}{more}.")
    if label.separator or counts[most] < _UNEVEN * counts[least]:
        return lines
    return [
        *lines,
        f"    # {flat(most)[:40]} has {counts[most]:,} rows, {flat(least)[:40]}"
        f" {counts[least]:,}. If each class matters alike:",
        "    # class_weights: balanced",
    ]


def scalar(text: str, quoted: bool = False) -> str:
    """A text as it stands in YAML, in flow mappings too."""
    style = '"' if quoted else None
    dumped = yaml.safe_dump(text, allow_unicode=True, default_style=style, width=10**6)
    # Flow mappings end at a comma or a brace, which plain block scalars may hold.
    # Plain scalars also go on in the next line, where a text has several.
    if not quoted and (re.search(r"[,\[\]{}#]", text) or not text.isprintable()):
        return scalar(text, quoted=True)
    return str(dumped.removesuffix("...\n").strip())


def flat(text: str) -> str:
    """In one line, as a comment needs it."""
    return " ".join(text.split())
