"""`report.html`: a run's results on one page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pipeline.metrics_table import class_rows
from pipeline.report_figures import (
    comparison_figure,
    reliability_figure,
    value_figure,
)
from trainer.figures import confusion_figure, drawing, svg

_MAX_CLASSES = 40

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem;
  padding: 0 1rem; color: #1c1f24; background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #dde1e6; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.warning { border-left: .4rem solid #c0392b; background: #fdecea; padding: .7rem 1rem;
  margin: 1rem 0; font-weight: 600; }
.note { color: #555c66; }
figure { margin: 1rem 1.5rem; }
svg { max-width: 100%; height: auto; overflow: visible; } svg text { font-family: sans-serif !important; }
"""


def page(summary: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """The page.

    Args:
        summary: what `summary.json` holds.
        report: of `pipeline.judging.judge`.
    """
    name = escape(str(summary["name"]))
    with drawing() as plt:
        sections = "\n".join(
            part
            for parts in (
                _results(summary, plt, report),
                _value(summary, plt),
                _comparison(summary, plt),
                _calibration(report, plt),
                _integrity(summary),
            )
            for part in parts
        )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        f"<h1>{name}</h1>\n{sections}\n</body></html>\n"
    )


def _results(
    summary: Mapping[str, Any], plt: Any, report: Mapping[str, Any]
) -> Iterator[str]:
    yield "<h2>Result · 结果</h2>"
    blessed = "blessed and pushed" if summary["blessed"] else "not blessed, not pushed"
    counts = summary["examples"]
    yield _paragraph(
        f"{blessed}; {report['examples']:,} rows judged; {counts['read']:,} rows read,"
        f" {counts['quarantined']:,} set aside"
    )
    for line in summary["failures"]:
        yield _warning(line)
    for one in summary["against_constant"]:
        if one["verdict"] == "better":
            yield _paragraph(one["says"] + ".")
        elif not any(line.startswith(one["says"]) for line in summary["failures"]):
            yield _warning(one["says"] + ".")
    for value in summary["value"]:
        if value["warning"]:
            yield _warning(value["warning"])
    yield _metrics("inputs · 输入", summary["metrics_by_inputs"])
    if summary["metrics_by_slices"]:
        yield "<h2>Slices · 分组</h2>"
        yield _paragraph("All inputs, on the rows that have these values.")
        yield _metrics("slice · 分组", summary["metrics_by_slices"])
    for head, found in report["confusion"].items():
        if len(found["classes"]) <= _MAX_CLASSES:
            drawn = confusion_figure(plt, head, found["classes"], found["matrix"])
            yield _figure(svg(drawn))
    for head, classes in report["per_class"].items():
        yield f"<h3>Each class · 各类别: {escape(head)}</h3>"
        header = ["class · 类别", "examples · 样本", "precision", "recall", "F1"]
        yield _table(header, class_rows(classes))


def _metrics(title: str, judged_by: Mapping[str, Mapping[str, Any]]) -> str:
    """What was judged a row, its metrics a column each."""
    names = list(
        dict.fromkeys(n for one in judged_by.values() for n in one if n != "examples")
    )
    rows = [
        [name, one["examples"], *(one.get(metric) for metric in names)]
        for name, one in judged_by.items()
    ]
    return _table([title, "examples · 样本", *names], rows)


def _value(summary: Mapping[str, Any], plt: Any) -> Iterator[str]:
    for value in summary["value"]:
        yield f"<h2>Value of the inputs · 输入的价值: {escape(value['head'])}</h2>"
        yield _paragraph(
            f"{'Sets' if value['permutations'] else 'Every set'} of inputs on the same {value['examples']:,} rows"
            f" ({value['rows']}); lines are 95 % bootstrap intervals. A Shapley value is"
            f" an input's mean gain in {value['metric']} over {_orders(value)} in which"
            " inputs can be added; they sum to what all inputs reach above the best"
            " constant answer."
        )
        yield _figure(svg(value_figure(plt, value)))
        columns = {"value": "Shapley", "se": "standard error"}
        if value["permutations"]:
            columns["permutation_se"] = "of it, by the drawn orders"
        columns |= {"low": "low", "high": "high"}
        rows = [
            [name, *(one[key] for key in columns)]
            for name, one in value["shapley"].items()
        ]
        yield _table(["input · 输入", *columns.values()], rows)
        if value["warning"]:
            yield _warning(value["warning"])
        elif value["says"]:
            yield _paragraph(value["says"] + ".")
        for line in value["harms"]:
            yield _warning(line + ".")
        for note in value["notes"]:
            yield _paragraph(note + ".", "note")


def _orders(value: Mapping[str, Any]) -> str:
    drawn = value["permutations"]
    return f"{drawn} orders drawn of those" if drawn else "all orders"


def _comparison(summary: Mapping[str, Any], plt: Any) -> Iterator[str]:
    comparison = summary.get("comparison")
    if not comparison:
        return
    yield "<h2>Before and after · 前后对比</h2>"
    yield _figure(svg(comparison_figure(plt, comparison)))
    rows = [
        [name, *(one["metric"][key] for key in ("value", "se", "low", "high"))]
        for name, one in comparison["variants"].items()
    ]
    header = ["training · 训练", comparison["metric"], "standard error", "low", "high"]
    yield _table(header, rows)
    for one in comparison["variants"].values():
        if one["says"]:
            yield _paragraph(one["says"] + ".")


def _calibration(report: Mapping[str, Any], plt: Any) -> Iterator[str]:
    for one in report["calibration"]:
        yield f"<h2>Calibration · 校准: {escape(one['head'])}</h2>"
        if one["selection_rows"]:
            yield _paragraph(
                f"Temperatures were found on {one['selection_rows']:,} rows of the"
                " selection split. ECE: 15 bins, of equal width or of equally many rows."
            )
        else:
            yield _paragraph("No temperature: scores are as the model gives them.")
        for line in one["warnings"]:
            yield _warning(line)
        yield _figure(svg(reliability_figure(plt, one)))
        rows = []
        for subset, found in one["by_inputs"].items():
            before, after = found["before"], found["after"]
            pairs = [
                f"{before[key]:.4f} → {after[key]:.4f}"
                for key in ("log_loss", "ece_width", "ece_mass")
            ]
            rows.append([subset, found["examples"], found["temperature"], *pairs])
        yield _table(
            ["inputs · 输入", "examples", "temperature · 温度", "log loss", "ECE (width)",
             "ECE (mass)"],
            rows,
        )  # fmt: skip
        if one["abstain"]:
            wanted = ", ".join(
                f"{k} {v:g}" for k, v in one["abstain"]["wanted"].items()
            )
            yield f"<h3>Abstention · 弃权: {escape(wanted)}</h3>"
            keys = ("examples", "threshold", "coverage", "risk")
            yield _table(
                ["inputs · 输入", *keys],
                [
                    [subset, *(found[key] for key in keys)]
                    for subset, found in one["abstain"]["by_inputs"].items()
                ],
            )


def _integrity(summary: Mapping[str, Any]) -> Iterator[str]:
    if not summary["integrity"]:
        return
    yield "<h2>Data integrity · 数据完整性</h2>"
    for one in summary["integrity"]:
        if one["level"] == "note":
            yield _paragraph(one["text"], "note")
        else:
            yield _warning(one["text"])


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def _warning(text: str) -> str:
    return f'<p class="warning">⚠ {escape(text)}</p>'


def _figure(drawn: str) -> str:
    return f"<figure>{drawn}</figure>"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Numbers to the right, the first column's names to the left."""

    def cell(value: Any) -> str:
        if value is None:
            return "–"
        if isinstance(value, float):
            return f"{value:.4f}"
        return f"{value:,}" if isinstance(value, int) else escape(str(value))

    def line(cells: Sequence[str], tag: str) -> str:
        first, *others = cells
        rest = "".join(f'<{tag} class="n">{one}</{tag}>' for one in others)
        return f"<tr><{tag}>{first}</{tag}>{rest}</tr>"

    head = line([escape(one) for one in header], "th")
    body = "\n".join(line([cell(one) for one in row], "td") for row in rows)
    return f"<table>\n{head}\n{body}\n</table>"
