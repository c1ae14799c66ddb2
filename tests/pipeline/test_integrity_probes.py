"""The probes of the data, on numbers made for them."""

import hashlib
import math

import numpy as np
import pytest
from PIL import Image

from pipeline.integrity import descriptors
from pipeline.integrity.duplicates import alike
from pipeline.integrity.media_hashes import MediaHashes, Twins
from pipeline.integrity.pairs import Match, match
from pipeline.integrity.predictor import area, bins, strength, told, wanted
from tests.pipeline.samples import wav
from tests.serving import picture_files


def test_area_under_the_curve_by_hand() -> None:
    # Of the 2 * 3 pairs of a positive and a negative: 5 in order, 1 equal.
    positive = np.array([True, True, False, False, False])
    assert area(np.array([3.0, 2, 2, 1, 0]), positive) == pytest.approx(5.5 / 6)
    assert area(np.zeros(5), positive) == 0.5
    assert math.isnan(area(np.zeros(2), np.array([True, True])))


def test_values_fall_into_bins() -> None:
    # 80 numbers make 4 bins; a missing one has a bin of its own.
    codes = bins([float(i) for i in range(80)] + [None])
    assert np.bincount(codes).tolist() == [1, 20, 20, 20, 20]
    # Rare texts share bin 1.
    assert bins(["a"] * 5 + ["b", "c", None]).tolist() == [2, 2, 2, 2, 2, 1, 1, 0]
    assert bins([None, None]).tolist() == [0, 0]


def test_labels_become_columns() -> None:
    labels = [("a",)] * 12 + [("b",)] * 12 + [("rare",)]
    assert wanted(labels).sum(0).tolist() == [12, 12]
    assert wanted([1.5, 2.5]).tolist() == [[1.5], [2.5]]
    both = wanted([("a", "b")] * 10 + [()] * 15)
    assert both.sum(0).tolist() == [10, 10]
    assert wanted([("only",)] * 40).shape == (40, 0)


def halves(rows: int) -> np.ndarray:
    return wanted([(name,) for name in "ab" * (rows // 2)])


def test_a_value_that_tells_the_label_is_found() -> None:
    target = halves(200)
    hosts = ["x.org" if i % 2 else "y.org" for i in range(200)]
    found = strength(hosts, target)
    assert found.score == pytest.approx(1.0)
    assert found.p == pytest.approx(1 / 201)
    # Length 100 against 200, with noise of the same size: d = 1, area 0.76.
    noise = np.random.default_rng(0).normal(0, 100, 200)
    lengths = [float(100 + 100 * (i % 2) + noise[i]) for i in range(200)]
    found = strength(lengths, target)
    assert found.score == pytest.approx(0.76, abs=0.05)
    assert found.p < 0.01


def test_a_missing_value_is_a_value() -> None:
    target = halves(200)
    ages = [None if i % 2 else float(i) for i in range(200)]
    assert strength(ages, target).score == pytest.approx(1.0)


def test_a_number_is_told_by_r_squared() -> None:
    x = np.linspace(0, 1, 200)
    found = strength(list(x), wanted([float(v) for v in 3 * x]))
    assert found.score == pytest.approx(1.0, abs=0.01)
    noise = np.random.default_rng(0).normal(size=200)
    assert strength(list(noise), wanted([float(v) for v in x])).score < 0.05


def test_values_that_mean_nothing_are_at_chance_whatever_their_number() -> None:
    random = np.random.default_rng(0)
    found = []
    for rows in (60, 200):
        for _ in range(10):
            target = halves(rows)
            numbers = list(random.normal(size=rows))
            words = [f"w{n}" for n in random.integers(0, 12, rows)]
            found += [strength(v, target, worth=0.65) for v in (numbers, words)]
    assert not [one for one in found if one.score >= 0.65 and one.p < 0.01]


def test_an_identifier_of_groups_tells_nothing_about_other_groups() -> None:
    # Each patient has ten rows of one class: the id tells it only to its own rows.
    patients = [f"p{i // 10}" for i in range(200)]
    target = wanted([("ab"[(i // 10) % 2],) for i in range(200)])
    assert strength(patients, target).score > 0.95
    assert strength(patients, target, groups=patients).score < 0.6


def test_whole_vectors_tell_more_than_one_of_their_sums() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 20))
    labels = [("ab"[int(v[3] > v[7])],) for v in vectors]
    assert told(vectors, wanted(labels)) > 0.9
    assert told(random.normal(size=(300, 20)), wanted(labels)) < 0.6


def test_pairs_that_belong_together_are_told_from_shuffled_ones() -> None:
    random = np.random.default_rng(0)
    shared_part = random.normal(size=(500, 3))
    one = np.hstack([shared_part @ random.normal(size=(3, 30)), np.ones((500, 1))])
    one = one + random.normal(size=one.shape)
    other = shared_part @ random.normal(size=(3, 10)) + random.normal(size=(500, 10))
    found = match(one, other)
    assert found.verdict == "matched"
    assert found.rank > 0.7
    assert found.held == 250
    shuffled = match(one, other[random.permutation(500)])
    assert shuffled.verdict == "chance"
    assert shuffled.rank == pytest.approx(0.5, abs=0.05)


def test_shuffled_pairs_pass_for_matched_about_as_often_as_p_says() -> None:
    random = np.random.default_rng(1)
    found = [
        match(random.normal(size=(420, 6)), random.normal(size=(420, 4)), seed=i).p
        for i in range(20)
    ]
    assert np.mean(np.array(found) < 0.01) <= 0.1
    assert 0.3 < np.mean(found) < 0.7


def test_few_rows_cannot_tell_and_rows_of_a_group_count_once() -> None:
    random = np.random.default_rng(0)
    few = match(random.normal(size=(100, 3)), random.normal(size=(100, 3)))
    assert few.verdict == "cannot tell"
    assert Match(0.5, 0.5, 199).verdict == "cannot tell"
    assert Match(0.5, 0.5, 200).verdict == "chance"
    # 10 recordings, each on 60 rows: they would vouch for one another.
    codes = np.repeat(random.normal(size=(10, 4)), 60, axis=0)
    other = np.repeat(random.normal(size=(10, 4)), 60, axis=0)
    assert match(codes, other).verdict == "matched"
    groups = np.repeat(np.arange(10), 60).tolist()
    assert match(codes, other, groups).verdict == "cannot tell"


def test_a_constant_side_matches_nothing() -> None:
    random = np.random.default_rng(0)
    found = match(np.ones((500, 3)), random.normal(size=(500, 3)))
    assert (found.rank, found.p) == (0.5, 1.0)


def drawn(count: int, side: int = 40) -> list[np.ndarray]:
    random = np.random.default_rng(count)
    return [random.integers(0, 255, (side, side, 3), np.uint8) for _ in range(count)]


def encoded(pixels: np.ndarray, kind: str, **options: int) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def smooth(pixels: np.ndarray) -> np.ndarray:
    """Large patches, as pictures have them."""
    return np.kron(pixels[:8, :8], np.ones((8, 8, 1), np.uint8))


def test_the_same_file_and_the_same_picture_are_found_in_two_splits() -> None:
    pixels = [smooth(one) for one in drawn(40)]
    files = [encoded(one, "PNG") for one in pixels]
    # Row 40 is file 3 again; row 41 is picture 5 as a JPEG; row 42 is neither.
    again = encoded(pixels[5], "JPEG", quality=90)
    files += [files[3], again, encoded(smooth(drawn(41)[40]), "PNG")]
    thumbnails = [descriptors.picture(data) for data in files]
    train = np.arange(43) < 40
    # The file itself is no picture that looks like it: it is counted bytewise.
    assert alike(files, thumbnails, ~train, train) == [(41, 5)]
    hashes = MediaHashes()
    for i, data in enumerate(files):
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        hashes.add("photo", digest, "train" if train[i] else "eval", f"r{i}")
    assert hashes.twins() == [
        Twins("photo", "eval", "train", 1, ("r40", "r3")),
        Twins("photo", "train", "eval", 1, ("r3", "r40")),
    ]
    brighter = [*thumbnails[:41], thumbnails[41] + 0.1, thumbnails[42]]
    assert alike(files, brighter, ~train, train) == []


def test_pictures_of_few_kinds_are_no_duplicates() -> None:
    # Sums of five patterns: neighbours are near, the same only by accident.
    random = np.random.default_rng(0)
    patterns = random.normal(size=(5, 256))
    rows = [
        np.concatenate([w @ patterns, np.zeros(6)]).astype(np.float32)
        for w in random.normal(size=(600, 5))
    ]
    train = np.arange(600) < 500
    hashes = [bytes([i // 256, i % 256]) for i in range(600)]
    assert alike(hashes, rows, ~train, train) == []


def test_absent_and_flat_media_are_passed_over() -> None:
    flat = np.ones(262, np.float32)
    assert alike([None, None], [flat, None], *np.eye(2, dtype=bool)) == []


def test_descriptors_see_a_picture_as_a_viewer_does() -> None:
    photo = picture_files.smooth()
    upright = descriptors.picture(
        picture_files.encoded(photo.rotate(-90, expand=True), "PNG")
    )
    turned = picture_files.encoded(photo, "PNG", exif=picture_files.exif(6)[6:])
    np.testing.assert_allclose(descriptors.picture(turned), upright, atol=1e-6)
    square = Image.fromarray(picture_files.square())
    named = picture_files.encoded(square, "PNG", transparency=0)
    grey = descriptors.picture(named)[:256].reshape(16, 16)
    assert grey[0, 0] == pytest.approx(1.0)
    assert grey[8, 8] == pytest.approx(200 / 255, abs=1e-3)


def test_descriptors_are_small_and_finite() -> None:
    white = np.full((20, 30, 4), 255, np.uint8)
    white[..., 3] = 0  # fully transparent
    shown = descriptors.picture(encoded(white, "PNG"))
    assert shown.shape == (262,)
    np.testing.assert_allclose(shown[:256], 1.0, atol=1e-3)
    ramp = np.linspace(0, 65535, 400).reshape(20, 20).astype(np.uint16)
    grey = descriptors.picture(encoded(ramp, "PNG"))
    assert grey[0] < 0.1
    assert grey[255] > 0.9
    assert np.isfinite(descriptors.sound(wav(seconds=0.01))).all()
    assert descriptors.sound(wav(0.5)).shape == (128,)
    assert float(np.linalg.norm(descriptors.text("咳嗽三天"))) == pytest.approx(1.0)
    assert not descriptors.text("").any()
    got = descriptors.numbers([1.0, 3.0, None])
    np.testing.assert_allclose(got, [[-1, 1], [1, 1], [0, 0]])
    assert descriptors.categories(["a", None, "a"]).tolist() == [[1], [0], [1]]


def test_loud_bands_are_loud() -> None:
    import io
    import wave

    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        tone = 8000 * np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)
        file.writeframes(tone.astype("<i2").tobytes())
    bands = descriptors.sound(out.getvalue()).reshape(8, 16)
    # Mel of 1000 Hz is 1000, of the Nyquist rate 4000 Hz 2146: band 16 * 1000 / 2146.
    assert set(bands.argmax(1)) == {7}
