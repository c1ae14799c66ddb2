"""All checks of a manifest's integrity, and what they found in words."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.code_version import code_version
from pipeline.integrity.check_labels import confounders, leaks
from pipeline.integrity.check_pairs import pairs
from pipeline.integrity.check_splits import duplicates, groups
from pipeline.integrity.media_hashes import FILE, from_json, told
from pipeline.integrity.rows import MAX_ROWS, Seen, look
from pipeline.scan import Scan
from pipeline.views import ingestion_view
from serving.files import open_binary
from trainer.config import Config, UserError
from trainer.features import features
from trainer.schema import plain

Kind = Literal["duplicates", "groups", "leaks", "confounders", "pairs"]

_CHECKS: dict[Kind, Callable[[Config, Seen, Scan], Iterator[tuple[bool, str]]]] = {
    "duplicates": duplicates,
    "groups": groups,
    "leaks": leaks,
    "confounders": confounders,
    "pairs": pairs,
}
"""Key of `data.integrity` -> what gives (is it serious?, a sentence or two)."""


class IntegrityError(UserError, ValueError):
    """Data that `data.integrity` says not to train on."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        kind: key of `data.integrity`.
        level: `error` or `warn` as the config says; `note` is worth knowing only.
        text: a sentence or two.
    """

    kind: Kind
    level: Literal["error", "warn", "note"]
    text: str


def find(config: Config, seen: Seen, scanned: Scan) -> list[Finding]:
    """Everything that is found, in the order of `data.integrity`'s keys."""
    out: list[Finding] = []
    for kind, check in _CHECKS.items():
        level = getattr(config.data.integrity, kind)
        # Where no row is usable, only the scan of all rows tells anything.
        if level != "off" and (len(seen) or kind == "groups"):
            out += [
                Finding(kind, level if serious else "note", _naming(config, text))
                for serious, text in check(config, seen, scanned)
            ]
    if len(seen) < seen.rows and out:
        text = f"{len(seen):,} of {seen.rows:,} rows were looked at"
        out.append(Finding(out[-1].kind, "note", text))
    return out


def _naming(config: Config, text: str) -> str:
    """A sentence on an input, with its column where that is called otherwise."""
    for feature in features(config):
        # The input, or a fact about it: `note: ...`, `note: characters: ...`.
        begin = re.match(rf"{re.escape(feature.key)}(: [a-z ]+)?(?=: )", text)
        if begin and feature.column != feature.key:
            return f"{begin[0]} (column {feature.column!r}){text[begin.end() :]}"
    return text


def ingested(config: Config, scanned: Scan, examples: str) -> list[Finding]:
    """What ingestion found among all rows, where `checked` has looked at some only.

    Args:
        examples: folder of the examples.
    """
    level = config.data.integrity.duplicates
    if level == "off" or scanned.rows <= MAX_ROWS:
        return []
    with open_binary(os.path.join(examples, FILE)) as file:
        twins = from_json(file.read().decode("utf-8"))
    texts = (_naming(config, text) for text in told(config, twins))
    return [Finding("duplicates", level, text) for text in texts]


def checked(
    config: Config, manifest: str, scanned: Scan, reports: Path
) -> list[Finding]:
    """The findings, kept in a file: neither manifest nor config has changed since.

    Raises:
        IntegrityError: one of them is an error.
    """
    settings = json.dumps(plain(config.data.integrity), sort_keys=True)
    key = "\n".join(
        [
            scanned.fingerprint,
            ingestion_view(config),
            settings,
            code_version(__name__),
        ]
    )
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = reports / f"integrity-{name}.json"
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        found = [Finding(**one) for one in stored]
    else:
        found = find(config, look(config, manifest, scanned), scanned)
        reports.mkdir(parents=True, exist_ok=True)
        text = json.dumps([dataclasses.asdict(one) for one in found], indent=1)
        path.write_text(text, encoding="utf-8")
    if errors := [one for one in found if one.level == "error"]:
        raise IntegrityError(
            f"{manifest}: "
            + "\n".join(f"{one.text} (data.integrity.{one.kind})" for one in errors)
        )
    return found
