"""Writes the figures of the documentation from the JSON of the runs that gave them.

    python docs/figures.py            # renew what is out of date
    python docs/figures.py --check    # change nothing; exit code 1 if a page is out of date

A page has `<!-- figures: NAME -->` and `<!-- end -->`, each with an empty line before and after it; what stands between
them is made here. NAME is a key of `FIGURES`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/*.md", "saved_model/MODEL_CARD.md")

MODEL_CARD = "saved_model/deepfake/1/assets/model_card.json"  # written by `deepfake-tf export`
LIGHT_MODEL = "saved_model/deepfake/detector.json"  # written by `deepfake-tf export`
ROBUSTNESS = "saved_model/figures/robustness.json"  # written by `deepfake-tf robustness`
LOAD_TEST = "serving/capacity/measured.json"  # written by `serving/capacity/load_test.py`

METRIC_TITLES = {
    "precision": "precision (FAKE)",
    "recall": "recall (FAKE)",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "tpr_at_1_percent_fpr": "TPR at 1 % FPR",
    "ece": "ECE",
    "classwise_ece": "classwise ECE of P(FAKE)",
    "mean_probability": "mean P(FAKE), where 50 % is true",
    "brier": "Brier score",
}
NOT_PERCENT = ("roc_auc", "average_precision", "brier")  # the others are shares of the images

_BLOCK = re.compile(r"(<!-- figures: (\S+) -->\n\n).*?(\n?<!-- end -->)", re.DOTALL)


def headline() -> str:
    """The three results of the README, each with its command."""
    card, robustness, load = _read(MODEL_CARD), _read(ROBUSTNESS), _read(LOAD_TEST)
    metrics = card["validation_metrics"]
    accuracy = metrics["accuracy"]
    worst = next(row for row in robustness["conditions"] if row["condition"] == robustness["worst_condition"])
    full_batch = sorted(load["batches"]["32"])[len(load["batches"]["32"]) // 2]
    rate = next(row for row in load["rates"] if row["offered_per_second"] == 100)
    return f"""\
1. **{_figure(accuracy["value"], True)}** of {metrics["n"]:,} CIFAKE images are labelled right (95 % interval \
{_interval(accuracy, True)},
   ROC AUC {metrics["roc_auc"]["value"]:.4f}). The network was not trained on any of them.
   `deepfake-tf evaluate --data cifake --output reports/cifake`
2. **{robustness["mean_drop_points"]:.1f} points** of accuracy are lost on average when images are changed as the web \
changes them (JPEG, blur,
   noise, scaling, crops). The worst change, {worst["condition"]}, leaves {100 * worst["accuracy"]:.1f} %.
   `deepfake-tf robustness --data cifake --limit 4000 --output reports/robustness`
3. **{32 / full_batch:.0f} images a second** from one server on two CPU cores, in requests of 32 images. At \
{rate["offered_per_second"]:.0f} requests a second of
   one image each, half are answered within {rate["p50_seconds"] * 1000:.0f} ms and 99 % within \
{rate["p99_seconds"] * 1000:.0f} ms.
   `python serving/capacity/load_test.py http://127.0.0.1:8501 photo.jpg --rate 100`
"""


def metrics() -> str:
    """What `export` measured on the validation split."""
    card = _read(MODEL_CARD)
    measured, decision = card["validation_metrics"], card["decision"]
    rows = [("accuracy", measured["accuracy"], True)]
    rows += [(title, measured[name], name not in NOT_PERCENT) for name, title in METRIC_TITLES.items()]
    lines = [(title, _figure(metric["value"], percent), _interval(metric, percent)) for title, metric, percent in rows]
    outside, inside = decision["validation_accuracy_outside_band"], decision["validation_share_in_band"]
    lines += [("accuracy outside the uncertain band", f"{100 * outside:.2f} %", "")]
    lines += [("images in the uncertain band", f"{100 * inside:.1f} %", "")]
    return _table(("what", "figure", "95 % interval"), lines)


def decision() -> str:
    """The numbers by which the model that ships decides."""
    card = _read(MODEL_CARD)
    decision, domain = card["decision"], card["domain"]
    low, high = decision["uncertain_band"]
    smallest, largest = domain["sides_accepted"]
    return _table(
        ("what", "value"),
        [
            ("threshold on the probability", f"{decision['threshold']}"),
            ("temperature", f"{decision['temperature']:.3f}"),
            ("intercept", f"{decision['intercept']:.3f}"),
            ("uncertain band of the probability", f"{low:.3f} to {high:.3f}"),
            ("sides in domain", f"{smallest} to {largest} pixels"),
            ("limit on the Mahalanobis distance of the features", f"{domain['mahalanobis_threshold']:.1f}"),
            ("share of the validation images below that limit", f"{domain['validation_percentile']} %"),
        ],
    )


def robustness() -> str:
    """Accuracy under each change of the battery."""
    rows = _read(ROBUSTNESS)["conditions"]
    return _table(
        ("change", "accuracy", "drop in points", "AUC"),
        [
            (row["condition"], f"{100 * row['accuracy']:.2f} %", f"{row['drop_points']:.2f}", f"{row['auc']:.4f}")
            for row in rows
        ],
    )


def load() -> str:
    """What the local server answered, by the rate offered."""
    rows = _read(LOAD_TEST)["rates"]
    return _table(
        ("requests/s offered", "answered/s", "p50, ms", "p99, ms", "images a call", "cores used"),
        [
            (
                f"{row['offered_per_second']:.0f}",
                f"{row['answered_per_second']:.0f}",
                f"{row['p50_seconds'] * 1000:.0f}",
                f"{row['p99_seconds'] * 1000:.0f}",
                f"{row['images_per_call']:.1f}",
                f"{row['cores_used']:.2f}",
            )
            for row in rows
        ],
    )


def light_outputs() -> str:
    """What the `.tflite` that ships takes and returns."""
    description = _read(LIGHT_MODEL)
    view = description["view"]
    shape = [1, view["side"], view["side"], 3]
    form = f"{view['type']} {shape}, {view['colours']}, {view['range'][0]}..{view['range'][1]}"
    rows = [("input `pixels`", f"{form}; {view['what']}")]
    rows += [(f"output `{name}`", text) for name, text in description["outputs"].items()]
    return _table(("tensor", "what"), rows)


FIGURES: dict[str, Callable[[], str]] = {
    "headline": headline,
    "metrics": metrics,
    "decision": decision,
    "robustness": robustness,
    "load": load,
    "light-outputs": light_outputs,
}


def render(text: str) -> str:
    """A page with its figures made anew.

    Raises:
        ValueError: the page names figures that are not in `FIGURES`, or a block has no end.
    """

    def block(match: re.Match[str]) -> str:
        if match[2] not in FIGURES:
            raise ValueError(f"figures must be one of {', '.join(FIGURES)}. Received: {match[2]}")
        return match[1] + FIGURES[match[2]]() + "\n<!-- end -->"

    rendered, count = _BLOCK.subn(block, text)
    if count != len(re.findall(r"^<!-- figures: ", text, re.MULTILINE)):
        raise ValueError("`<!-- figures: NAME -->` needs an empty line behind it, and `<!-- end -->` further down")
    return rendered


def pages() -> list[Path]:
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.exit(f"usage: python docs/figures.py [--check]. Received: {' '.join(arguments)}")
    stale = 0
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (rendered := render(text)) == text:
            continue
        stale += 1
        print(f"{'out of date' if arguments else 'renewed'}: {path.relative_to(ROOT)}")
        if not arguments:
            path.write_text(rendered, encoding="utf-8")
    return 1 if arguments and stale else 0


def _read(path: str) -> dict[str, Any]:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def _figure(value: float, percent: bool) -> str:
    return f"{100 * value:.2f} %" if percent else f"{value:.4f}"


def _interval(metric: dict[str, float], percent: bool) -> str:
    return f"{_figure(metric['low'], percent)} to {_figure(metric['high'], percent)}"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join("| " + " | ".join(cells).rstrip() + " |\n" for cells in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
