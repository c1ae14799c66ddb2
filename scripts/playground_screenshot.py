"""Takes docs/images/playground.png: the playground over a served model of the demo.

    polymodal demo --output build/demo
    python scripts/playground_screenshot.py build/demo/serving/demo [DATA]

DATA is the demo's data (`polymodal demo-data DATA`), made anew by default. Needs Debian's
chromium and chromium-driver (scripts/install_tools.sh).
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main(model: str, data: str) -> None:
    """Starts server and page, fills the page in, and takes the picture."""
    from rich.console import Console
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    from pipeline.demo import write_data
    from serving.client import Client
    from serving.playground import build
    from serving.server import ModelServer

    folder = Path(data)
    if not (folder / "manifest.csv").exists():
        write_data(folder, 60, 5, Console())
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        row = next(r for r in csv.DictReader(file) if r["image"] and r["audio"])
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless", "--no-sandbox", "--window-size=1280,1500"):
        options.add_argument(argument)
    with ModelServer(model, "demo") as server:
        page = build(Client(f"localhost:{server.port}/demo"))
        _, url, _ = page.launch(quiet=True, prevent_thread_lock=True, **page.settings)
        browser = webdriver.Chrome(
            options, webdriver.ChromeService("/usr/bin/chromedriver")
        )
        try:
            browser.get(url)

            def find(selector: str) -> webdriver.remote.webelement.WebElement:
                return WebDriverWait(browser, 60).until(
                    lambda b: b.find_elements("css selector", selector)
                )[0]

            for name in ("image", "audio"):
                find(f"#in-{name} input[type=file]").send_keys(str(folder / row[name]))
            find("#in-mention textarea, #in-mention input").send_keys("八还是九")
            find("#in-height_mm textarea, #in-height_mm input").send_keys("25.2")
            find("#in-image img")
            find("#in-audio .component-wrapper")
            find("#ask").click()
            find("#answer .pm-version, #answer .pm-error")
            target = ROOT / "docs" / "images" / "playground.png"
            target.parent.mkdir(exist_ok=True)
            browser.save_screenshot(str(target))
            print(f"wrote {target.relative_to(ROOT)}")
        finally:
            browser.quit()
            page.close()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as made:
        main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else made)
