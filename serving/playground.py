"""One web page over the client: give some inputs, leave any out, see the answer.

    python -m serving.playground --target=localhost:8500/digits

What the page asks for it learns from the model's own signatures, so it works for every
model that polymodal exports, served by this project's server or the stock TF Serving.
"""

import argparse
import html
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Nothing leaves this machine on its own.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from serving.client import Client, ClientError, RowError, tls_credentials
from serving.playground_page import WORDS, heads, page_of, words
from serving.rows import Contract
from serving.shapley import explained

TABLE = "table"
"""What numbers and categories are called together: they come from one table."""


def groups(contract: Contract) -> dict[str, list[str]]:
    """Part -> inputs: each picture, sound and text alone, the table's columns together."""
    out = {name: [name] for name in contract.inputs if name not in contract.table}
    if contract.table:
        out[TABLE] = sorted(contract.table)
    return out


def score(answer: Mapping[str, Any], head: str, of: str | None) -> float:
    """The score of a class, or the number that a head answers."""
    value = answer[head] if of is None else answer[f"{head}_scores"][of]
    return float(value)


def asked(
    client: Client, row: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, float]], float]:
    """The answer to a row, each head's parts, and the seconds of the answer alone.

    Raises:
        ClientError, RowError: as the client does.
    """
    began = time.perf_counter()
    (answer,) = client.predict([row])
    seconds = time.perf_counter() - began
    by_part = groups(client.contract())
    subsets: list[dict[str, Any]] = []  # answers: every head is told from the same
    parts = {}
    for head, kind in heads(answer).items():
        scores = answer.get(f"{head}_scores", {})
        of = max(scores, key=scores.__getitem__) if kind == "scores" else None

        def ask(
            rows: list[dict[str, Any]], head: str = head, of: str | None = of
        ) -> list[float]:
            if not subsets:
                subsets.extend(client.explaining().predict(rows))
            return [score(one, head, of) for one in subsets]

        parts[head] = explained(row, by_part, ask)
    return answer, parts, seconds


def number(name: str, text: str) -> float:
    """What a person wrote for a number.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise ValueError(f"{name}: expected a number, got {text!r}") from None


def build(client: Client) -> Any:
    """The page, a gradio.Blocks.

    Raises:
        ClientError: where the server cannot be asked what the model takes.
    """
    import gradio

    contract = client.contract()
    order = {"image": 0, "images": 1, "audio": 2, "text": 3, "numeric": 4}
    names = sorted(contract.inputs, key=lambda n: (order[contract.inputs[n]], n))
    i18n = gradio.I18n(**{"en": dict(WORDS["en"]), "zh-CN": dict(WORDS["zh"])})

    def answer(request: gradio.Request, *values: Any) -> str:
        said = words(request.headers.get("accept-language", "en"))
        given = [*zip(keys, values, strict=True)]
        row = {
            name: value for name, value in given if value is not None and value != ""
        }
        try:
            for name in row:
                if contract.inputs[name] == "numeric":
                    row[name] = number(name, row[name])
            found, parts, seconds = asked(client, row)
        except (ClientError, RowError, ValueError) as error:
            text = html.escape(str(error))
            return f"<p class='pm-error'><b>{said['failed']}</b>: {text}</p>"
        return page_of(found, parts, seconds, said, len(row))

    # The machine may have no way out: no fonts from elsewhere.
    fonts = ["system-ui", "sans-serif"]
    theme = gradio.themes.Default(font=fonts, font_mono=["monospace"])
    with gradio.Blocks(title=f"polymodal: {client.model_name}") as page:
        gradio.Markdown(f"# {client.model_name}")
        gradio.Markdown(i18n("hint"))
        with gradio.Row():
            with gradio.Column():
                fields, keys = [], []
                for name in names:
                    made = _fields(name, contract.inputs[name])
                    fields += made
                    keys += [name] * len(made)
                button = gradio.Button(i18n("ask"), variant="primary", elem_id="ask")
            with gradio.Column():
                shown = gradio.HTML(elem_id="answer")
        button.click(answer, fields, shown, show_progress="minimal")
    # Its summary of events asks for a pandas that TFX does not allow, and nobody reads it.
    page._queue.ANAYLTICS_CACHE_FREQUENCY = sys.maxsize
    css = (
        ".pm-bars, .pm-bars td { border: 0 !important; padding: .15em .4em !important }"
    )
    page.settings = {"i18n": i18n, "theme": theme, "css": css}
    return page


def _fields(name: str, kind: str) -> list[Any]:
    """The fields for one input; media can be uploaded or taken here and now."""
    import gradio

    if kind == "image":
        # image_mode None: the file goes to the model as it is.
        picture = gradio.Image(
            label=name, type="filepath", sources=["upload", "webcam", "clipboard"],
            elem_id=f"in-{name}", image_mode=None, height=240,
        )  # fmt: skip
        with gradio.Accordion("DICOM, TIFF", open=False):  # no browser shows these
            other = gradio.File(
                label=name, type="filepath", elem_id=f"file-{name}",
                file_types=[".dcm", ".tif", ".tiff"], height=120,
            )  # fmt: skip
        return [picture, other]
    if kind == "images":  # in the order in which they were chosen
        several = gradio.File(
            label=name, type="filepath", file_count="multiple", elem_id=f"in-{name}"
        )
        return [several]
    if kind == "audio":
        sources = ["upload", "microphone"]
        return [
            gradio.Audio(
                label=name, type="filepath", sources=sources, elem_id=f"in-{name}"
            )
        ]
    # Numbers too: gradio's own field for them turns an empty one into 0, and a number
    # that nobody gave is absent.
    return [gradio.Textbox(label=name, elem_id=f"in-{name}")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the page until it is interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(prog="serving.playground", description=__doc__)
    parser.add_argument("--target", required=True, help="HOST:PORT/NAME of the server")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port of the page")
    parser.add_argument(
        "--ca_cert", help="PEM file that the server's TLS is checked by"
    )
    parser.add_argument(
        "--token_file", help="file that holds the server's bearer token"
    )
    chosen = parser.parse_args(arguments)
    try:
        import gradio  # noqa: F401
    except ImportError:
        parser.exit(1, "serving.playground: pip install 'polymodal[playground]'\n")
    try:
        client = Client(
            chosen.target,
            credentials=tls_credentials(chosen.ca_cert) if chosen.ca_cert else None,
            token=Path(chosen.token_file).read_text("utf-8").strip()
            if chosen.token_file
            else None,
        )
        page = build(client)
    except (ClientError, ValueError, OSError) as error:
        parser.exit(2, f"serving.playground: {error}\n")
    try:
        page.launch(
            server_name=chosen.host, server_port=chosen.port, show_error=False,
            quiet=True, prevent_thread_lock=True, **page.settings,
        )  # fmt: skip
    except (OSError, OverflowError) as error:
        where = f"{chosen.host}:{chosen.port}"
        parser.exit(2, f"serving.playground: cannot listen on {where}: {error}\n")
    print(
        f"Playground of {client.target} at http://{chosen.host}:{chosen.port}",
        flush=True,
    )
    page.block_thread()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
