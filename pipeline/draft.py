"""Gives every column of a manifest a role, or the reason why it has none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.cell_forms import is_time, number_of
from pipeline.column_kind import column_kind
from pipeline.column_label import NoLabel, find_label
from pipeline.column_media import Media, find_media, names_a_file
from pipeline.column_names import speaks_of
from pipeline.column_roles import find_group, find_id, find_split
from pipeline.integrity.columns import Leaks, find_leaks
from pipeline.manifest import ManifestError
from pipeline.one_hot import with_the_label
from pipeline.profile import Column, Profile

_MAX_TEXTS = 4


class Draft:
    """The role of every column.

    Args:
      found: What the columns hold.
      label, id, group: Columns that a person names; None = guessed.

    Attributes:
      id, split, group: Columns, with why; `split` with the config's names of what it
        holds.
      media, texts, numeric, categorical: Inputs; texts with a hint for the reader.
      label: What is predicted.
      left_out: Columns that are none of these -> why.

    Raises:
      ManifestError: nothing to predict, or nothing to predict it from.
    """

    def __init__(
        self,
        found: Profile,
        label: str | None = None,
        id: str | None = None,
        group: str | None = None,
    ) -> None:
        self.found = found
        self.left_out: dict[str, str] = {}
        _check_names(found)
        given = {name for name in (label, id, group) if name is not None}
        if len(given) < sum(name is not None for name in (label, id, group)):
            raise ManifestError(
                f"{found.manifest}: --label, --id and --group must name different columns."
            )
        try:
            self._find_roles(label, id, group, given)
        except (NoLabel, ValueError) as error:
            raise ManifestError(f"{found.manifest}: {error}") from None
        if not (self.media or self.texts or self.numeric or self.categorical):
            roles = {self.id: "the id", self.group: "the group"}
            roles |= {self.split.column: "the split"} if self.split else {}
            taken = {n: f"taken as {role}" for n, role in roles.items() if n}
            why = "; ".join(f"{n}: {why}" for n, why in (taken | self.left_out).items())
            raise ManifestError(
                f"{found.manifest}: no column is left to predict {self.label.column!r}"
                f" from: {why or 'there is no other'}"
            )

    def _find_roles(
        self, label: str | None, id: str | None, group: str | None, given: set[str]
    ) -> None:
        found = self.found
        self.split, refused = find_split(found)
        refused = {n: why for n, why in refused.items() if n not in given}
        taken = given | set(refused) | ({self.split.column} if self.split else set())
        self.media = self._find_media(taken)
        taken |= {m.column for m in self.media}
        self.id, self.id_why = find_id(found, taken, id)
        taken |= {self.id} if self.id else set()
        self.label = find_label(found, taken | set(self.left_out), label)
        taken.add(self.label.column)
        self.left_out |= with_the_label(found, self.label, label)
        self.group, self.group_why, others = find_group(found, taken, group)
        taken |= {self.group} if self.group else set()
        rest = [c for c in found.columns if c not in taken and c not in self.left_out]
        split = self.split.column if self.split else None
        leaks = find_leaks(found.manifest, rest, self.label, self.group, split)
        if self.group and leaks.parted and self.group != group:
            self.left_out[self.group] = (
                "looks like a group whose rows should not part, but"
                f" {leaks.parted[0]!r} lies in two splits: mind it when you judge"
            )
            self.group = None
        self.left_out |= {n: why for n, why in refused.items() if n != self.group}
        self._find_tables(rest, leaks, others)

    def _find_media(self, taken: set[str]) -> list[Media]:
        media: list[Media] = []
        for column in self.found.columns.values():
            if column.name in taken:
                continue
            one, why = find_media(self.found, column)
            if why:
                self.left_out[column.name] = why
            if one is None:
                continue
            twin = next((m for m in media if self._same_files(m, one)), None)
            if twin is None:
                media.append(one)
            else:
                self.left_out[column.name] = (
                    f"names the same files as {twin.column}: likely the same content"
                    " in another form"
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

    def _find_tables(
        self, rest: Sequence[str], leaks: Leaks, groups: dict[str, str]
    ) -> None:
        self.texts: list[tuple[Column, str]] = []
        self.numeric: list[str] = []
        self.categorical: list[str] = []
        for name in rest:
            kind, why = column_kind(self.found.columns[name], self.found)
            if name in groups:
                kind, why = "", groups[name]
            if kind and speaks_of(name, self.label.column):
                kind, why = (
                    "",
                    (
                        f"by its name it speaks of the label, {self.label.column!r}; add it if"
                        " it is known before the label is"
                    ),
                )
            if kind and name in leaks.decide:
                kind, why = "", f"decides the label ({leaks.decide[name]}): a leak"
            share = leaks.spell.get(name, 0.0)
            if kind and share >= 0.5:
                kind, why = "", f"spells the label in {share:.0%} of its rows: a leak"
            if kind == "text" and len(self.texts) == _MAX_TEXTS:
                kind, why = "", f"text too, but {_MAX_TEXTS} texts are many already"
            if not kind:
                self.left_out[name] = why
            elif kind == "text":
                hint = f"spells the label in {share:.0%} of its rows"
                self.texts.append(
                    (self.found.columns[name], hint if share > 0.1 else "")
                )
            else:
                (self.numeric if kind == "numeric" else self.categorical).append(name)


def _check_names(found: Profile) -> None:
    """Raises ManifestError where the first line is a row rather than names."""
    if not found.manifest.lower().endswith((".csv", ".tsv")):
        return
    columns = list(found.columns.values())
    whole = [int(c.name) for c in columns if c.name.isdecimal()]
    # Columns of pixels are called 0, 1, 2, ...
    counted = len(whole) > 2 and whole == list(range(whole[0], whole[0] + len(whole)))
    like_cells = [
        c.name
        for c in columns
        if c.name in c.values
        or ("/" in c.name and names_a_file(c.name))
        or is_time(c.name)
        or (number_of(c.name) is not None and not counted)
    ]
    if 2 * len(like_cells) >= len(columns) > 0:
        raise ManifestError(
            f"{found.manifest}: the first line seems to be a row rather than the names of"
            f" the columns ({', '.join(map(repr, like_cells[:4]))}); put a line of names"
            " above it."
        )
