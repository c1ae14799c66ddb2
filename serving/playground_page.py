"""The playground's answer as HTML, in English and Chinese."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

WORDS = {
    "en": {
        "ask": "Ask the model",
        "answer": "Answer",
        "parts": "The part each input played",
        "parts_note": "in the score of the answer, as Shapley values",
        "absent": "absent",
        "unknown": "a category that training never saw",
        "latency": "Latency",
        "version": "Model version",
        "nothing": "Nothing is given: this is what the model says without any input.",
        "abstained": "The model abstains: its score is below its threshold.",
        "hint": "Leave out whatever you do not have.",
        "none": "none",
        "failed": "The server did not answer",
    },
    "zh": {
        "ask": "提问",
        "answer": "回答",
        "parts": "各输入所起的作用",
        "parts_note": "对答案得分的贡献（沙普利值）",
        "absent": "缺失",
        "unknown": "训练时没见过的类别",
        "latency": "延迟",
        "version": "模型版本",
        "nothing": "没有任何输入：这是模型在没有输入时的回答。",
        "abstained": "模型弃权：得分低于阈值。",
        "hint": "没有的输入可以留空。",
        "none": "无",
        "failed": "服务器没有回答",
    },
}


def words(languages: str) -> Mapping[str, str]:
    """The page's words for an Accept-Language header: Chinese or English."""
    first = languages.split(",")[0].strip().lower()
    return WORDS["zh" if first.startswith("zh") else "en"]


def heads(answer: Mapping[str, Any]) -> dict[str, str]:
    """Head -> `scores` or `number`, from what a row's answer holds."""
    out = {
        key.removesuffix("_scores"): "scores"
        for key, value in answer.items()
        if key.endswith("_scores") and isinstance(value, Mapping)
    }
    for key, value in answer.items():
        number = isinstance(value, float) and key != "model_version"
        if number and key not in out:
            out[key] = "number"
    return out


def page_of(
    answer: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, float]],
    seconds: float,
    said: Mapping[str, str],
    given: int,
) -> str:
    """The answer as HTML; every value in it is escaped."""
    out = []
    if not given:
        out.append(f"<p>{said['nothing']}</p>")
    for head, kind in heads(answer).items():
        out.append(
            f"<section id='pm-head-{html.escape(head)}'><h3>{html.escape(head)}: "
            f"{_headline(answer, head, kind, said)}</h3>"
        )
        if answer.get(f"{head}_abstained"):
            out.append(f"<p><b>{said['abstained']}</b></p>")
        if kind == "scores":
            scores = answer[f"{head}_scores"]
            shown = sorted(scores.items(), key=lambda item: -item[1])[:10]
            out.append(_bars(shown, 1.0, "pm-score"))
        out.append(
            f"<h4>{said['parts']}</h4><p><small>{said['parts_note']}</small></p>"
        )
        shown = sorted(parts[head].items(), key=lambda item: -abs(item[1]))
        longest = max((abs(value) for _, value in shown), default=1.0) or 1.0
        out.append(
            _bars(shown, longest, "pm-part") if shown else f"<p>{said['none']}</p>"
        )
        out.append("</section>")
    for word, end, value in (
        ("absent", "_present", False),
        ("unknown", "_unknown", True),
    ):
        found = sorted(
            key.removesuffix(end)
            for key, told in answer.items()
            if key.endswith(end) and told is value
        )
        if found:
            out.append(f"<p>{said[word]}: {html.escape(', '.join(found))}</p>")
    out.append(
        f"<p>{said['latency']}: <b>{seconds * 1000:.1f} ms</b> · {said['version']}: "
        f"<b class='pm-version'>{html.escape(str(answer['model_version']))}</b></p>"
    )
    return "\n".join(out)


def _headline(
    answer: Mapping[str, Any], head: str, kind: str, said: Mapping[str, str]
) -> str:
    value = answer.get(head)
    if kind == "number":
        return f"<b class='pm-answer'>{float(value or 0.0):.4g}</b>"
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    text = html.escape(str(value)) if value not in (None, "") else said["none"]
    return f"<b class='pm-answer'>{text}</b>"


def _bars(rows: Sequence[tuple[str, float]], longest: float, name: str) -> str:
    lines = []
    for label, value in rows:
        width = min(100.0, 100 * abs(value) / longest)
        colour = "#2563eb" if value >= 0 else "#dc2626"
        number = f"{value:+.3f}" if name == "pm-part" else f"{value:.3f}"
        lines.append(
            f"<tr class='{name}'><td>{html.escape(label)}</td><td style='width:60%'>"
            f"<div style='background:{colour};height:.8em;width:{width:.1f}%'></div></td>"
            f"<td style='text-align:right'>{number}</td></tr>"
        )
    return "<table class='pm-bars' style='width:100%'>" + "".join(lines) + "</table>"
