"""Where the monitor listens and writes: only where asked, and said before any work."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from pipeline.cli import main
from pipeline.monitor import Monitor, watch
from tests.pipeline.monitored import Watching


def polymodal(*words: str) -> Result:
    return CliRunner().invoke(main, ["monitor", *words])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_other_machines_see_gauges_where_asked_for_only(
    watching: Watching, tmp_path: Path, host: str
) -> None:
    import psutil

    monitor = Monitor(str(tmp_path), str(watching.model))
    listening: list[str] = []

    def look() -> None:
        end = time.monotonic() + 30
        while not listening and time.monotonic() < end:
            port = re.search(r":(\d+)/metrics", printed.getvalue())
            if port:
                listening.extend(
                    one.laddr.ip
                    for one in psutil.Process().net_connections("tcp")
                    if one.status == "LISTEN" and one.laddr.port == int(port[1])
                )
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    printed = io.StringIO()
    looking = threading.Thread(target=look)
    looking.start()
    given = {} if host == "127.0.0.1" else {"metrics_host": host}
    watch(monitor, Console(file=printed), metrics_port=0, interval=1, **given)
    looking.join()
    assert listening == [host]


def test_a_port_in_use_is_said(watching: Watching, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = polymodal(
            "--logs", str(tmp_path), "--baseline", str(watching.model),
            "--interval", "1", "--metrics_port", port,
        )  # fmt: skip
    assert done.exit_code == 2, done.output
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.output
    assert polymodal("--metrics_port", "99999").exit_code == 2


@pytest.mark.parametrize("option", ["--output", "--textfile"])
def test_a_folder_for_a_file_is_said_before_logs_are_read(
    watching: Watching, tmp_path: Path, option: str
) -> None:
    done = polymodal(
        "--logs", str(tmp_path / "none"), "--baseline", str(watching.model),
        option, str(tmp_path),
    )  # fmt: skip
    assert done.exit_code == 2
    assert f"cannot write {tmp_path}: Is a directory" in " ".join(done.output.split())
