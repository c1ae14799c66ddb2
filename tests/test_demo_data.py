import hashlib
import subprocess
import sys
import time
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.demo_data_probes import Row, accuracies, read_rows, side_channels
from pipeline import demo_data, demo_speech
from pipeline.demo_data import COLUMNS, MEASUREMENTS, write_demo_data
from pipeline.demo_speech import SpeechError, Utterance, speak

EXAMPLES = 1000


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_data(tmp_path_factory.mktemp("demo"), EXAMPLES)


@pytest.fixture(scope="module")
def rows(manifest: Path) -> list[Row]:
    return read_rows(manifest)


def test_the_manifest_is_complete_and_balanced(rows: list[Row]) -> None:
    assert tuple(rows[0]) == COLUMNS
    assert len({row["id"] for row in rows}) == EXAMPLES
    assert Counter(row["split"] for row in rows) == {"train": 750, "eval": 250}
    assert Counter(row["label"] for row in rows) == {str(d): 100 for d in range(10)}


def test_every_media_file_decodes(manifest: Path, rows: list[Row]) -> None:
    from PIL import Image

    for row in rows:
        if row["image"]:
            with Image.open(manifest.parent / row["image"]) as image:
                image.load()
                assert (image.format, image.mode, image.size) == ("PNG", "L", (24, 24))
        if row["audio"]:
            with wave.open(str(manifest.parent / row["audio"]), "rb") as file:
                form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
                assert form == (1, 2, 8000)
                samples = np.frombuffer(file.readframes(8001), "<i2")
                assert samples.shape == (8000,)
                assert np.abs(samples).max() < 32767, "clipped"
    written = {p.name for p in manifest.parent.rglob("*") if p.is_file()}
    named = {Path(row[c]).name for row in rows for c in ("image", "audio")} - {""}
    assert written == named | {"manifest.csv"}


def test_each_input_is_missing_at_times_and_never_all(rows: list[Row]) -> None:
    for name in ("image", "audio", "mention", "height_mm"):
        missing = sum(not row[name] for row in rows) / EXAMPLES
        assert 0.04 < missing < 0.12, name
    for row in rows:
        assert row["image"] or row["audio"] or row["mention"] or row["height_mm"]
        assert len({bool(row[name]) for name in MEASUREMENTS}) == 1
        assert row["label"]
        assert row["speaker"]


def test_a_row_always_keeps_one_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_data, "MISSING_FRACTION", 1.0)
    present = demo_data._presence(np.random.default_rng(0), 100)
    assert present.sum(axis=1).tolist() == [1] * 100


def test_nothing_is_shared_between_the_splits(manifest: Path, rows: list[Row]) -> None:
    def contents(split: str, column: str) -> set[str]:
        return {
            hashlib.sha256((manifest.parent / row[column]).read_bytes()).hexdigest()
            for row in rows
            if row["split"] == split and row[column]
        }

    for column in ("image", "audio"):
        assert not contents("train", column) & contents("eval", column)
    variants = {
        split: {r["speaker"].split("+")[1] for r in rows if r["split"] == split}
        for split in ("train", "eval")
    }
    assert not variants["train"] & variants["eval"]


@pytest.mark.parametrize("examples", [400, 4000])
def test_an_original_picture_is_in_one_split_only(
    examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Undegraded, so that the same original is the same bytes.
    monkeypatch.setattr(
        demo_data, "_degrade", lambda rng, original: (original * 16).astype(np.uint8)
    )
    rng = np.random.default_rng(0)
    splits, labels = demo_data._plan(rng, examples)
    seen: dict[str, set[bytes]] = {"train": set(), "eval": set()}
    for split, picture in zip(
        splits, demo_data._pictures(rng, splits, labels), strict=True
    ):
        seen[split].add(picture.tobytes())
    assert not seen["train"] & seen["eval"]
    if examples == 400:
        assert len(seen["train"] | seen["eval"]) == examples, "none is used twice"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def written(name: str, seed: int) -> dict[str, bytes]:
        root = write_demo_data(tmp_path / name, 40, seed).parent
        files = (path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): path.read_bytes() for path in files}

    first = written("first", 3)
    assert first == written("second folder", 3)
    assert first != written("other", 4)


def test_weak_alone_and_strong_together(manifest: Path) -> None:
    measured = accuracies(manifest)
    together = measured.pop("together")
    assert {name for name, value in measured.items() if not 0.4 < value < 0.75} == (
        set()
    ), measured
    assert together >= 0.92
    assert together > max(measured.values()) + 0.2


def test_sizes_lengths_voices_and_absence_say_nothing(manifest: Path) -> None:
    # Chance is 0.1; with 250 rows four standard deviations are 0.08.
    assert {k: v for k, v in side_channels(manifest).items() if v > 0.18} == {}


def test_progress_counts_up_and_the_manifest_comes_last(tmp_path: Path) -> None:
    counts = []

    def progress(count: int) -> None:
        counts.append(count)
        assert not (tmp_path / "manifest.csv").exists()

    assert write_demo_data(tmp_path, 40, progress=progress).exists()
    assert counts == list(range(1, 41))


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs 40 or more.*Received: examples=39"):
        write_demo_data(tmp_path, 39)


def test_speech_is_the_same_whatever_the_time_is() -> None:
    wanted = [Utterance("seven", "en+m1"), Utterance("七", "cmn+f2", pitch=60)]
    first = speak(wanted)
    # eSpeak NG would seed itself with the time in seconds.
    time.sleep(1.1)
    second = speak(wanted)
    for one, other in zip(first, second, strict=True):
        assert one.dtype == np.int16
        assert 0.1 < len(one) / demo_speech.SAMPLE_RATE_HZ < 1.0
        np.testing.assert_array_equal(one, other)


def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(SpeechError, match="no voice 'no-such'; expected LANGUAGE"):
        speak([Utterance("seven", "no-such")])


def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['espeakng_loader'] = None\n"
        "from pathlib import Path\n"
        "from pipeline.demo_speech import SpeechError, _Engine\n"
        "try: _Engine(Path('.'))\n"
        "except SpeechError as error: print(error)"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "espeakng-loader is not installed" in child.stdout
    assert "make setup" in child.stdout


def test_a_long_data_path_is_shortened(tmp_path: Path) -> None:
    data = tmp_path / ("x" * 130)
    data.mkdir()
    short = demo_speech._short(data, tmp_path)
    assert short != data
    assert short.resolve() == data.resolve()
    assert demo_speech._short(tmp_path, tmp_path) == tmp_path or len(str(tmp_path)) > 90
