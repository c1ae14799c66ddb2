"""Gives every column of a manifest a role, or the reason why it has none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline import infer as guess
from pipeline.infer import Media
from pipeline.integrity.columns import Leaks, find_leaks
from pipeline.manifest import ManifestError
from pipeline.profile import Column, Profile

_MAX_TEXTS = 4


class Draft:
    """The role of every column.

    Attributes:
      id, split, group: Columns; `split` with the config's names of what it holds.
      media, texts, numeric, categorical: Inputs; texts with a hint for the reader.
      label: What is predicted.
      left_out: Columns that are none of these, and why.

    Raises:
      ManifestError: nothing to predict, or nothing to predict it from.
    """

    def __init__(self, found: Profile) -> None:
        self.found = found
        self.left_out: list[tuple[str, str]] = []
        self.id = guess.find_id(found)
        self.split = guess.find_split(found)
        split = self.split[0] if self.split else None
        taken = {name for name in (self.id, split) if name}
        self.media = self._find_media(taken)
        taken |= {m.column for m in self.media} | {name for name, _ in self.left_out}
        label = guess.find_label(found, taken)
        if label is None:
            raise ManifestError(
                f"{found.manifest}: no column looks like something to predict (a few"
                " values, each many times, or a column named label). Name it label, or"
                f" write the config by hand. Columns: {', '.join(found.columns)}"
            )
        self.label = label
        taken.add(label.column)
        groups = guess.named(found, guess.GROUPS)
        group = next((c for c in groups if c.name not in taken and not c.unique), None)
        self.group = group.name if group else None
        rest = [c for c in found.columns if c not in taken and c != self.group]
        leaks = find_leaks(found.manifest, rest, label, self.group, split)
        if self.group and leaks.parted:
            self._leave(
                self.group,
                "looks like a group whose rows should not part, but"
                f" {leaks.parted[0]!r} lies in two splits: mind it when you judge",
            )
            self.group = None
        self._find_tables(rest, leaks)
        if not (self.media or self.texts or self.numeric or self.categorical):
            raise ManifestError(
                f"{found.manifest}: no column is left to predict {label.column!r} from:"
                f" {'; '.join(f'{name}: {why}' for name, why in self.left_out)}"
            )

    def _leave(self, column: str, why: str) -> None:
        self.left_out.append((column, why))

    def _find_media(self, taken: set[str]) -> list[Media]:
        media: list[Media] = []
        for column in self.found.columns.values():
            if column.name in taken:
                continue
            one, why = guess.find_media(self.found, column)
            if why:
                self._leave(column.name, why)
            if one is None:
                continue
            twin = next((m for m in media if self._same_files(m, one)), None)
            if twin is None:
                media.append(one)
            else:
                self._leave(
                    column.name,
                    f"names the same files as {twin.column}: likely the same content"
                    " in another form",
                )
        return media

    def _same_files(self, one: Media, other: Media) -> bool:
        if one.kind != other.kind:
            return False
        pairs = [(r.get(one.column), r.get(other.column)) for r in self.found.sample]
        names = [
            (re.split(r"[/!]", a)[-1], re.split(r"[/!]", b)[-1])
            for a, b in pairs
            if isinstance(a, str) and isinstance(b, str) and a and b
        ]
        return bool(names) and all(a == b for a, b in names)

    def _find_tables(self, rest: Sequence[str], leaks: Leaks) -> None:
        self.texts: list[tuple[Column, str]] = []
        self.numeric: list[str] = []
        self.categorical: list[str] = []
        for name in rest:
            kind, why = guess.column_kind(self.found.columns[name], self.found)
            if kind and name in leaks.decide:
                kind, why = "", f"decides the label ({leaks.decide[name]}): a leak"
            share = leaks.spell.get(name, 0.0)
            if kind and share >= 0.5:
                kind, why = "", f"spells the label in {share:.0%} of its rows: a leak"
            if kind == "text" and len(self.texts) == _MAX_TEXTS:
                kind, why = "", f"text too, but {_MAX_TEXTS} texts are many already"
            if not kind:
                self._leave(name, why)
            elif kind == "text":
                hint = f"spells the label in {share:.0%} of its rows"
                self.texts.append(
                    (self.found.columns[name], hint if share > 0.1 else "")
                )
            else:
                (self.numeric if kind == "numeric" else self.categorical).append(name)
