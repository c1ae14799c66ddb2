"""What `sound_process` and its helper say to one another, over a socket.

The helper sends READY once. To each REQUEST, followed by the file's bytes, it answers
FACTS, SAMPLES as often as needed and END; or ERROR, in the place of any of these.
"""

import socket
import struct

REQUEST = struct.Struct("<QdQI?")
"""Bytes that follow, most seconds, most samples, alarm in seconds, also decode."""

ANSWER = struct.Struct("<cQ")
"""Kind and bytes that follow."""

READY, FACTS, SAMPLES, END, ERROR = b"R", b"F", b"S", b"D", b"E"
"""FACTS and ERROR carry JSON, SAMPLES little-endian int16, channels side by side."""


def receive(channel: socket.socket, size: int) -> bytes | None:
    """Exactly `size` bytes; None where the other side has closed before.

    Raises:
        TimeoutError: the channel's timeout passed between two pieces.
    """
    pieces, missing = [], size
    while missing:
        piece = channel.recv(min(missing, 2**20))
        if not piece:
            return None
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
