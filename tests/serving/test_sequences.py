"""Which frames of a sequence are taken, how they are read, and how they travel."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import meta_graph_pb2

from serving import media
from serving.media_error import MediaError
from serving.rows import Contract, RowError
from serving.sequences import chosen, frame_count, pack, servable_frames, unpack
from tests.serving.test_media_dicom import build

LEVELS = [0, 60, 120, 180, 240]


def picture(level: int) -> Any:
    return Image.fromarray(np.full((4, 6), level, np.uint8))


def png(level: int) -> bytes:
    out = io.BytesIO()
    picture(level).save(out, "PNG")
    return out.getvalue()


def animated(kind: str, levels: list[int], **options: Any) -> bytes:
    out = io.BytesIO()
    first, *rest = map(picture, levels)
    first.save(out, kind, save_all=True, append_images=rest, **options)
    return out.getvalue()


def level_of(data: bytes) -> int:
    """The first pixel, as the serving graph decodes it."""
    return int(tf.io.decode_image(data, expand_animations=False)[0, 0, 0])


@pytest.mark.parametrize(
    ("count", "most", "wanted"),
    [
        (0, 4, []),
        (1, 4, [0]),
        (4, 4, [0, 1, 2, 3]),
        (10, 4, [1, 3, 6, 8]),
        (5, 4, [0, 1, 3, 4]),
        (9, 1, [4]),
        (300, 3, [50, 150, 250]),
    ],
)
def test_frames_are_the_middles_of_equal_parts(
    count: int, most: int, wanted: list[int]
) -> None:
    assert chosen(count, most) == wanted


def test_what_was_chosen_is_taken_whole() -> None:
    for count in range(40):
        for most in range(1, 20):
            found = chosen(count, most)
            assert len(found) == min(count, most)
            assert found == sorted(set(found))
            assert chosen(len(found), most) == list(range(len(found)))


def test_packing_is_tensorflows_own_form() -> None:
    frames = [png(1), b"", "图".encode()]
    assert unpack(pack(frames)) == frames
    assert tf.io.parse_tensor(pack(frames), tf.string).numpy().tolist() == frames
    one = pack([png(1)])
    assert tf.io.parse_tensor(one, tf.string).numpy().tolist() == [png(1)]
    assert tf.io.serialize_tensor(frames).numpy()[:2] == one[:2] == b"\x08\x07"
    assert (pack([]), unpack(b"")) == (b"", [])
    assert unpack(png(1)) == [png(1)]  # a picture alone
    with pytest.raises(MediaError) as caught:
        unpack(one[:-1])
    assert caught.value.reason == "corrupt_sequence"


def taken(sources: list[bytes], most: int = 16) -> tuple[list[int], list[str]]:
    """The levels of the frames that are taken, and the reasons of those left out."""
    frames, failures = servable_frames(sources, lambda one: one, most)
    return [level_of(frame) for frame in frames], [error.reason for error in failures]


def test_a_damaged_frame_is_left_out_and_the_rest_stays() -> None:
    files = [png(10), b"no picture", png(30), png(40)[:20], b"", png(60)]
    assert taken(files) == (
        [10, 30, 60],
        ["unsupported_format", "corrupt_image", "empty_file"],
    )
    assert taken([b"no picture"]) == ([], ["unsupported_format"])
    assert taken([]) == ([], [])


def test_only_what_is_taken_is_read() -> None:
    seen = []

    def read(source: int) -> bytes:
        seen.append(source)
        if source == 3:
            raise MediaError("missing_file", "no such file", "3")
        return png(source)

    frames, failures = servable_frames(range(10), read, 4)
    assert seen == [1, 3, 6, 8]
    assert [level_of(frame) for frame in frames] == [1, 6, 8]
    assert [error.reason for error in failures] == ["missing_file"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("GIF", {"loop": 0}), ("TIFF", {}), ("WEBP", {"lossless": True})],
)
def test_one_file_may_hold_the_whole_sequence(
    kind: str, options: dict[str, Any]
) -> None:
    data = animated(kind, LEVELS, **options)
    assert frame_count(data) == 5
    found, failures = taken([data])
    assert failures == []
    np.testing.assert_allclose(found, LEVELS, atol=2)
    found, _ = taken([data], most=2)
    np.testing.assert_allclose(found, [LEVELS[1], LEVELS[3]], atol=2)
    # One of several files is one frame: the first of an animation, as of a picture.
    found, _ = taken([data, png(99)])
    np.testing.assert_allclose(found, [LEVELS[0], 99], atol=2)


def test_a_file_that_is_cut_short_is_refused_whole() -> None:
    data = animated("GIF", LEVELS, loop=0)
    assert taken([data[: len(data) // 2]]) == ([], ["corrupt_image"])


def test_a_frame_that_is_not_there_is_refused() -> None:
    with pytest.raises(MediaError, match="there is no frame 5"):
        media.servable_image(animated("GIF", LEVELS), frame=5)


def test_a_volume_is_read_slice_by_slice() -> None:
    slices = np.stack([np.full((4, 6), level, np.uint8) for level in LEVELS])
    data = build(slices, bits=8)
    assert frame_count(data) == 5
    assert taken([data]) == (LEVELS, [])
    assert taken([data], most=1) == ([120], [])


@pytest.fixture
def contract() -> Contract:
    return Contract({"ct": "images", "note": "text"}, frames={"ct": 4})


def sent(contract: Contract, value: Any, **options: Any) -> list[int]:
    """The levels of the frames that a client sends for a value."""
    arrays = contract.encode([{"ct": value, "note": "x"}], **options)
    assert arrays["ct"].shape == (1,)
    return [level_of(frame) for frame in unpack(arrays["ct"][0])]


def test_a_client_takes_lists_arrays_and_files(
    contract: Contract, tmp_path: Path
) -> None:
    for i, level in enumerate(LEVELS):
        (tmp_path / f"{i}.png").write_bytes(png(level))
    (tmp_path / "all.gif").write_bytes(animated("GIF", LEVELS, loop=0))
    base = str(tmp_path)
    names = [f"{i}.png" for i in range(5)]
    middles = [LEVELS[i] for i in (0, 1, 3, 4)]
    assert sent(contract, names, base=base) == middles
    assert sent(contract, [tmp_path / name for name in names]) == middles
    assert sent(contract, [png(level) for level in LEVELS[:2]]) == LEVELS[:2]
    assert sent(contract, "all.gif", base=base) == middles
    assert sent(contract, png(7)) == [7]
    assert sent(contract, pack([png(level) for level in LEVELS])) == middles
    frames = np.stack([np.asarray(picture(level)) for level in LEVELS])
    assert sent(contract, frames) == middles
    assert sent(contract, frames[..., None]) == middles
    assert sent(contract, list(frames)) == middles
    assert sent(contract, np.asarray(picture(9))) == [9]
    assert sent(contract, np.full((4, 6, 3), 8, np.uint8)) == [8]
    assert sent(contract, None) == sent(contract, []) == []


def test_a_client_may_go_on_without_a_damaged_frame(contract: Contract) -> None:
    files = [png(10), b"junk", png(30)]
    with pytest.raises(RowError, match="row 0, input 'ct': .*no picture format"):
        sent(contract, files)
    assert sent(contract, files, on_bad_media="absent") == [10, 30]
    assert sent(contract, [b"junk"], on_bad_media="absent") == []
    with pytest.raises(RowError, match="frames that were packed are cut"):
        sent(contract, pack(files)[:-3])
    with pytest.raises(RowError, match="row 0, input 'ct': expected bytes, a path or"):
        sent(contract, [1.5])


def signature(**inputs: tuple[tf.DType, list[int | None]]) -> Any:
    definition = meta_graph_pb2.SignatureDef()
    for name, (dtype, shape) in inputs.items():
        info = definition.inputs[name]
        info.dtype = dtype.as_datatype_enum
        info.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return definition


def test_the_contract_is_learned_from_the_signatures() -> None:
    found = Contract.of(
        {
            "serving_raw": signature(ct=(tf.string, [None]), mr=(tf.string, [None])),
            "serving_tensors": signature(
                ct_frames=(tf.float32, [None, 7, 2, 2, 1]),
                ct_frame_mask=(tf.int32, [None, 7]),
                mr_pixels=(tf.float32, [None, 2, 2, 1]),
            ),
        }
    )
    assert dict(found.inputs) == {"ct": "images", "mr": "image"}
    assert dict(found.frames) == {"ct": 7}


def test_the_playground_takes_several_files_in_their_order() -> None:
    from serving.playground import _fields

    (field,) = _fields("ct", "images")
    assert field.file_count == "multiple"
    assert field.elem_id == "in-ct"
