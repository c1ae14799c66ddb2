"""A file that a command writes appears whole, or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.outputs import OutputError, appearing, writable_file


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new/report.json"

    def fails() -> None:
        with appearing(path) as file:
            file.write("half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fails()
    assert not list(path.parent.iterdir())

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        pytest.raises(
            OutputError, match=f"cannot write {path}: No space left on device"
        ),
        appearing(path) as file,
    ):
        full()
    assert not list(path.parent.iterdir())
    with appearing(path) as file:
        file.write("whole")
    assert path.read_text() == "whole"


def test_a_device_is_written_through(tmp_path: Path) -> None:
    """A name such as /dev/stdout must not become a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with appearing(pipe) as file:
            file.write("line\n")
        assert os.read(reader, 100) == b"line\n"
        assert not pipe.is_file()
    finally:
        os.close(reader)
    with (
        pytest.raises(OutputError, match="/dev/full: No space left on device"),
        appearing("/dev/full") as file,
    ):
        file.write("line\n" * 10_000)
    writable_file("/dev/null")
