"""The playground in headless Chromium, over a real server."""

import io
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.playground import main, number
from serving.playground_page import heads, page_of, words
from serving.server import ModelServer

ROOT = Path(__file__).resolve().parents[2]


def test_words_follow_the_browsers_language() -> None:
    assert words("zh-CN,zh;q=0.9,en;q=0.8")["ask"] == "提问"
    assert words("de-DE,de;q=0.9")["ask"] == "Ask the model"


def test_a_number_is_read_as_people_write_it() -> None:
    assert number("age", " 3,5 ") == 3.5
    with pytest.raises(ValueError, match="age: expected a number, got 'old'"):
        number("age", "old")


def test_heads_are_found_in_an_answer() -> None:
    answer = {
        "finding": "flu", "finding_scores": {"flu": 0.9, "none": 0.1}, "age": 3.5,
        "xray_present": True, "model_version": 3,
    }  # fmt: skip
    assert heads(answer) == {"finding": "scores", "age": "number"}


def test_what_a_model_says_is_escaped() -> None:
    answer = {"h": "<b>x", "h_scores": {"<b>x": 1.0}, "model_version": 3}
    page = page_of(answer, {"h": {"<i>": -0.5}}, 0.0123, words("en"), 1)
    assert "&lt;b&gt;x" in page
    assert "&lt;i&gt;" in page
    assert "<b>x" not in page.replace("<b class", "")
    assert "-0.500" in page
    assert "12.3 ms" in page


def test_what_was_absent_and_what_was_unknown_is_said() -> None:
    answer = {
        "h": "x", "h_scores": {"x": 1.0}, "model_version": 3, "xray_present": False,
        "note_present": True, "city_unknown": True, "ward_unknown": False,
    }  # fmt: skip
    page = page_of(answer, {"h": {}}, 0.0, words("en"), 1)
    assert "<p>absent: xray</p>" in page
    assert "<p>a category that training never saw: city</p>" in page


@pytest.fixture(scope="module")
def url(clinic_server: ModelServer) -> Iterator[str]:
    """The command itself, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-W", "ignore", "-m", "serving.playground",
        f"--target=localhost:{clinic_server.port}/clinic", f"--port={port}",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        line = one.stdout.readline()
        assert line.startswith("Playground of localhost:"), line
        yield line.split()[-1]
        one.terminate()


def test_a_server_out_of_reach_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--target=localhost:9/none"])
    assert caught.value.code == 2
    assert "localhost:9/none: UNAVAILABLE" in capsys.readouterr().err


def test_a_port_in_use_is_said(clinic_server: ModelServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable, "-W", "ignore", "-m", "serving.playground",
                f"--target=localhost:{clinic_server.port}/clinic", f"--port={port}",
            ],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert line.startswith(f"serving.playground: cannot listen on 127.0.0.1:{port}: ")


def browser(folder: Path, language: str) -> Any:
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "install Debian's chromium: scripts/install_tools.sh"
    assert driver, "install Debian's chromium-driver: scripts/install_tools.sh"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--window-size=1200,1500",
        f"--user-data-dir={folder}", f"--lang={language}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    service = webdriver.ChromeService(driver)
    return webdriver.Chrome(options=options, service=service)


@pytest.fixture(scope="module")
def page(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    one = browser(tmp_path_factory.mktemp("chromium"), "en")
    one.get(url)
    yield one
    one.quit()


def wait(page: Any, condition: Any) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, 60).until(condition)


def find(page: Any, selector: str) -> Any:
    return wait(page, lambda p: p.find_elements("css selector", selector))[0]


def ask(page: Any) -> str:
    """Presses the button and gives the text of the new answer."""
    page.execute_script(
        "const a = document.querySelector('#answer .pm-version, #answer .pm-error');"
        "if (a) a.className = '';"
    )
    find(page, "#ask").click()
    wait(
        page,
        lambda p: p.find_elements(
            "css selector", "#answer .pm-version, #answer .pm-error"
        ),
    )
    text: str = find(page, "#answer").text
    return text


def rows(page: Any, name: str, head: str = "finding") -> dict[str, str]:
    cells = [
        [cell.text for cell in row.find_elements("css selector", "td")]
        for row in page.find_elements(
            "css selector", f"#answer #pm-head-{head} tr.{name}"
        )
    ]
    return {row[0]: row[2] for row in cells}


def test_inputs_can_be_given_and_left_out(page: Any, tmp_path: Path) -> None:
    # The clinic's model: light is the picture's mean brightness, dark the rest.
    text = ask(page)
    assert "Nothing is given" in text
    assert "finding: dark" in text
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 204, np.uint8)).save(buffer, "PNG")
    picture = tmp_path / "grey.png"
    picture.write_bytes(buffer.getvalue())
    find(page, "#in-xray input[type=file]").send_keys(str(picture))
    wait(page, lambda p: p.find_elements("css selector", "#in-xray img"))
    find(page, "#in-note textarea, #in-note input").send_keys("a long note")
    age = find(page, "#in-age textarea, #in-age input")
    age.send_keys("old")
    assert "age: expected a number, got 'old'" in ask(page)
    age.clear()
    age.send_keys("41,5")
    assert "absent: age" not in ask(page)
    for _ in range(4):
        age.send_keys("\b")
    text = ask(page)
    assert "finding: light" in text
    scores, parts = rows(page, "pm-score"), rows(page, "pm-part")
    # 204 / 255 = 0.8; the picture alone makes the score of light what it is.
    assert (scores["light"], scores["dark"]) == ("0.800", "0.200")
    assert parts["xray"] == "+0.800"
    assert parts["note"] == "+0.000"
    assert "Model version: 3" in text
    assert "age" in text.split("absent: ")[1]
    if os.environ.get("POLYMODAL_SCREENSHOT"):
        target = ROOT / "docs" / "images" / "playground.png"
        target.parent.mkdir(exist_ok=True)
        page.save_screenshot(str(target))


def test_the_page_asks_nobody_else(page: Any) -> None:
    asked = page.execute_script(
        "return performance.getEntriesByType('resource').map(e => new URL(e.name).hostname)"
    )
    assert set(asked) <= {"127.0.0.1", "localhost", ""}


def test_a_refusal_is_shown_as_one(url: str, page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"DICM" * 64)
    page.get(url)
    accordion = find(page, "button.label-wrap")
    accordion.click()
    find(page, "#file-xray input[type=file]").send_keys(str(broken))
    wait(page, lambda p: "broken" in p.find_element("css selector", "#file-xray").text)
    text = ask(page)
    assert text.startswith("The server did not answer: row 0, input 'xray'")
