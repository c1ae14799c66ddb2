from collections.abc import Iterator

import pytest

from benchmarks.process_end import end_process

_status: list[int] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    _status.append(int(exitstatus))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> Iterator[None]:
    """After all else: the status of the tests is the process's, not protobuf's."""
    yield
    if _status and not hasattr(config, "workerinput"):
        end_process(_status[-1])
