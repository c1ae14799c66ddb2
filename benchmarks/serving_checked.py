"""Python clients that compare every answer while a load runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.client_threads import ClientThreads
from benchmarks.serving_load import PREDICT


class CheckedClients(ClientThreads):
    """Threads that ask for rows by turns and compare every answer.

    Each request carries its own row; an answer of another one is counted as wrong and
    kept. Use as a context manager around a load.

    Args:
        address: the server's.
        messages: one serialized request for each row.
        is_right: (row, answer's bytes) -> whether it is that row's answer.
        clients: threads.
    """

    def __init__(
        self,
        address: str,
        messages: Sequence[bytes],
        is_right: Callable[[int, bytes], bool],
        clients: int,
    ) -> None:
        self.checked = 0
        self.wrong: list[int] = []
        self.failed: list[str] = []
        self._messages = messages
        self._is_right = is_right
        self._address = address
        super().__init__(clients)

    def _work(self, number: int) -> None:
        import grpc

        step = 2 * number + 1  # every client in an order of its own
        with grpc.insecure_channel(self._address) as channel:
            call = channel.unary_unary(PREDICT)
            row = number
            while not self._stop.is_set():
                row = (row + step) % len(self._messages)
                try:
                    answer = call(self._messages[row], timeout=60)
                except grpc.RpcError as error:
                    with self._lock:
                        self.failed.append(f"{error.code().name}: {error.details()}")
                    continue
                right = self._is_right(row, answer)
                with self._lock:
                    self.checked += 1
                    if not right:
                        self.wrong.append(row)
