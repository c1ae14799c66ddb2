"""The loop's wake-ups by gRPC, and what of gRPC's log is kept."""

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from grpc._cython import cygrpc

from serving import grpc_server
from serving.event_loop import ServingLoop


@pytest.fixture
def loop() -> Iterator[ServingLoop]:
    one = ServingLoop()
    yield one
    one.close()


class Reader:
    """Takes a byte a call, as gRPC's does."""

    def __init__(self, loop: ServingLoop) -> None:
        self.loop = loop
        self.read, self.write = socket.socketpair()
        self.read.setblocking(False)
        self.calls: list[bytes] = []

    def handle(self, *words: Any) -> None:
        assert words == ("loop",)
        self.calls.append(self.read.recv(1))

    def woken(self, times: int) -> int:
        """Calls after so many bytes were written."""
        self.calls.clear()
        self.write.send(b"1" * times)
        self.loop.call_later(0.1, self.loop.stop)
        self.loop.run_forever()
        return len(self.calls)

    def close(self) -> None:
        self.loop.remove_reader(self.read)
        self.read.close()
        self.write.close()


def test_all_of_grpcs_wake_ups_are_one(loop: ServingLoop) -> None:
    reader = Reader(loop)

    def handle(*words: Any) -> None:
        reader.handle(*words)

    handle.__qualname__ = "PollerCompletionQueue._handle_events"
    loop.add_reader(reader.read, handle, "loop")
    assert [reader.woken(times) for times in (5, 1, 0, 300)] == [1, 1, 0, 1]
    reader.close()


def test_other_readers_are_called_for_every_byte(loop: ServingLoop) -> None:
    reader = Reader(loop)
    loop.add_reader(reader.read, reader.handle, "loop")
    assert reader.woken(5) == 5
    reader.close()


def test_the_installed_grpc_is_known() -> None:
    """Another name, and every event would wake the loop again."""
    handler = cygrpc.PollerCompletionQueue._handle_events
    assert handler.__qualname__ == "PollerCompletionQueue._handle_events"


def test_a_caller_that_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    assert grpc_server
    log = logging.getLogger("grpc._cython.cygrpc")
    log.error("ExecuteBatchError raised in core by servicer method [/a.B/C]")
    log.error("Unexpected [ValueError] raised by servicer method [/a.B/C]")
    assert [record.getMessage() for record in caplog.records] == [
        "Unexpected [ValueError] raised by servicer method [/a.B/C]"
    ]
