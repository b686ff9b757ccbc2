"""Writes the figures of the documentation from the JSON of the runs that gave them, and the table of conclusions.

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

from deepfake_tf.benchmark.litert import format_rows
from deepfake_tf.conclusion import ANSWERS
from deepfake_tf.provenance.watermark import FALSE_ALARMS

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/*.md", "saved_model/MODEL_CARD.md", "saved_model/*/MODEL_CARD.md")

MODEL_CARD = "saved_model/deepfake/1/assets/model_card.json"  # written by `deepfake-tf export`
LIGHT_MODEL = "saved_model/deepfake/detector.json"  # written by `deepfake-tf export`
PHOTOGRAPH_SPEED = "saved_model/photograph/figures/benchmark.json"  # written by `benchmark --photographs --peers`
SPEED = "saved_model/figures/benchmark.json"  # written by `benchmark --peers`
LIGHT_VARIANTS = "saved_model/figures/litert.json"  # written by `benchmark --litert`
PAGE_SPEED = "saved_model/figures/page.json"  # written by `benchmark --page`
PHOTOGRAPH = "saved_model/photograph/detector.json"  # written by `deepfake-tf export`
PHOTOGRAPH_ROBUSTNESS = "saved_model/photograph/figures/robustness_out_of_fold.json"  # heads of the folds, by hand
TEACHER = "saved_model/figures/teacher/metrics.json"  # of two models, written by `deepfake-tf evaluate --groups`
TEACHER_CLASSES = "saved_model/figures/teacher/groups.json"  # written by the same
TRANSFORMER = "saved_model/cifake_vit/metrics.json"  # of one of the two, written by `deepfake-tf evaluate`
CLASSES = "saved_model/figures/groups.json"  # of the model that ships, written by `deepfake-tf evaluate --groups`
TRANSFORMER_ROBUSTNESS = "saved_model/cifake_vit/robustness.json"  # written by `deepfake-tf robustness`
ROBUSTNESS = "saved_model/figures/robustness.json"  # written by `deepfake-tf robustness`
WATERMARK = "docs/watermark.json"  # written by `python -m tests.provenance.measure_watermark`
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
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # as in CIFAKE
NOT_PERCENT = ("roc_auc", "average_precision", "brier")  # the others are shares of the images

ENDS = ("value", "low", "high")  # of a measured figure: the median and its quartiles
FEWEST_GENERATED = 10  # images of a generator that has a row
FEWEST_IMAGES = 40  # of a real source that has a row of its own though none of its images is accused
VERDICTS = ("likely_generated", "uncertain", "likely_real")

_BLOCK = re.compile(r"(<!-- figures: (\S+) -->\n\n).*?(\n?<!-- end -->)", re.DOTALL)


def headline() -> str:
    """The three results of the README, each with its command."""
    card, robustness = _read(MODEL_CARD), _read(ROBUSTNESS)
    speed = {(row["section"], row["what"]): row["value"] for row in _read(SPEED)["rows"]}
    metrics = card["validation_metrics"]
    accuracy = metrics["accuracy"]
    worst = next(row for row in robustness["conditions"] if row["condition"] == robustness["worst_condition"])
    light = speed["network", "LiteRT, dynamic_int8, one image"]
    served = speed["REST, JPEG 256 x 256", "16 clients"]
    return f"""\
1. **{_figure(accuracy["value"], True)}** of {metrics["n"]:,} CIFAKE images are labelled right (95 % interval \
{_interval(accuracy, True)},
   ROC AUC {metrics["roc_auc"]["value"]:.4f}). The network was not trained on any of them, but its mixture \
of weights was chosen on half.
   `deepfake-tf evaluate --data cifake --output reports/cifake`
2. **{robustness["mean_drop_points"]:.1f} points** of accuracy are lost on average when images are changed as the web \
changes them (JPEG, blur,
   noise, scaling, crops). The worst change, {worst["condition"]}, leaves {100 * worst["accuracy"]:.1f} %.
   `deepfake-tf robustness --data cifake --limit 4000 --output reports/robustness`
3. **{light:.1f} ms** for one image by LiteRT on two CPU cores, the network alone. A server with TensorFlow on such a \
machine
   answers {served:.0f} images a second to 16 clients.
   `deepfake-tf benchmark --output reports/speed`
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


def teacher() -> str:
    """What the teacher and its transformer alone reached on the validation split."""
    both, alone = _read(TEACHER), _read(TRANSFORMER)
    names = {"accuracy": "accuracy", **{name: METRIC_TITLES[name] for name in ("roc_auc", "tpr_at_1_percent_fpr")}}
    rows = []
    for name, title in names.items():
        percent = name not in NOT_PERCENT
        cells = [(_figure(one[name]["value"], percent), _interval(one[name], percent)) for one in (both, alone)]
        rows.append((title, *cells[0], *cells[1]))
    on = f"on {both['n']:,} validation images"
    return _table((on, "teacher", "95 % interval", "cifake_vit alone", "95 % interval"), rows)


def classes() -> str:
    """The model that ships by CIFAR-10's class, the hardest first."""
    return _table(
        ("class", "images", "accuracy", "95 % interval", "REAL", "FAKE"),
        [
            (
                _class_name(row),
                f"{row['images']:,}",
                *(_figure(row["accuracy"], True), _interval(row, True)),
                *(_figure(row[name], True) for name in ("real", "fake")),
            )
            for row in sorted(_read(CLASSES), key=lambda row: row["accuracy"])
        ],
    )


def teacher_classes() -> str:
    """The teacher by CIFAR-10's class, the hardest first, beside the model that ships."""
    shipped = {row["group"]: row for row in _read(CLASSES)}
    return _table(
        ("class", "images", "teacher", "95 % interval", "the model that ships", "95 % interval"),
        [
            (
                _class_name(row),
                f"{row['images']:,}",
                *(_figure(row["accuracy"], True), _interval(row, True)),
                *(_figure(shipped[row["group"]]["accuracy"], True), _interval(shipped[row["group"]], True)),
            )
            for row in sorted(_read(TEACHER_CLASSES), key=lambda row: row["accuracy"])
        ],
    )


def _class_name(row: dict[str, Any]) -> str:
    """CIFAR-10's class, by the number in CIFAKE's file names; the first has none."""
    return CLASS_NAMES[0 if row["group"] == "(none)" else int(row["group"]) - 1]


def transformer_robustness() -> str:
    """The teacher's transformer under each change, beside the model that ships."""
    rows, shipped = (_read(file)["conditions"] for file in (TRANSFORMER_ROBUSTNESS, ROBUSTNESS))
    cells = lambda row: (_share(row["accuracy"]), f"{row['drop_points']:.1f}")
    return _table(
        ("change", "cifake_vit", "drop in points", "the model that ships", "drop in points"),
        [(row["condition"], *cells(row), *cells(other)) for row, other in zip(rows, shipped, strict=True)],
    )


def decision() -> str:
    """The numbers by which the CIFAKE model decides."""
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


def photograph_headline() -> str:
    """What the README says of the detector for photographs."""
    found = _read(PHOTOGRAPH)["card"]["out_of_fold"]
    real, generated, everything = found["real"], found["generated"], found["all"]
    return f"""\
- **{100 * real["likely_generated"]:.1f} %** of {real["images"]:,} real images are called `likely generated`.
- **{100 * generated["likely_generated"]:.1f} %** of {generated["images"]:,} generated images are found: called \
`likely generated`. {100 * generated["likely_real"]:.1f} % are called `likely real`.
- **{100 * everything["uncertain"]:.0f} %** of all images are left `uncertain`. ROC AUC {found["auc"]:.3f}.
"""


def photograph() -> str:
    """What was measured of the detector for photographs on repositories left out."""
    found = _read(PHOTOGRAPH)["card"]["out_of_fold"]
    aucs = [
        ("ROC AUC, all images together", found["auc"]),
        ("the same, each source weighted by the square root of its images", found["weighted_auc"]),
        ("mean ROC AUC within repositories that hold both classes", found["paired_auc"]),
        ("ROC AUC of one random view (cropped, scaled, recompressed)", found["auc_of_a_random_view"]),
    ]
    rows = [(title, f"{value:.3f}") for title, value in aucs]
    for title, name in (("real", "real"), ("generated", "generated"), ("all", "all")):
        rows += [
            (f"{title} images called `{verdict.replace('_', ' ')}`", _share(found[name][verdict]))
            for verdict in VERDICTS
            if name != "all" or verdict == "uncertain"
        ]
    return _table(("what", "figure"), rows)


def photograph_generators() -> str:
    """Verdicts by generator, the hardest first."""
    rows = _read(PHOTOGRAPH)["card"]["out_of_fold"]["generated_by_generator"]
    shown = [row for row in rows if row["images"] >= FEWEST_GENERATED]
    return _table(
        ("generator", "images", "likely generated", "uncertain", "likely real", "AUC"),
        [(*_verdicts(row), f"{row['auc']:.3f}") for row in sorted(shown, key=lambda row: row["auc"])],
    )


def photograph_sources() -> str:
    """Verdicts by real source: the larger ones and those that are accused; the others in one row."""
    rows = _read(PHOTOGRAPH)["card"]["out_of_fold"]["real_by_source"]
    shown = [row for row in rows if row["images"] >= FEWEST_IMAGES or row["likely_generated"]]
    others = [row for row in rows if row not in shown]
    images = sum(row["images"] for row in others)
    mean = {name: sum(row["images"] * row[name] for row in others) / images for name in VERDICTS}
    lines = [(*_verdicts(row), f"{row['auc']:.3f}") for row in sorted(shown, key=lambda row: -row["likely_generated"])]
    lines += [(*_verdicts({"source": f"{len(others)} others", "images": images, **mean}), "")]
    return _table(("source", "images", "likely generated", "uncertain", "likely real", "AUC"), lines)


def photograph_kinds() -> str:
    """Verdicts by kind of image, and how many are recognised as no photograph."""
    found = _read(PHOTOGRAPH)["card"]["out_of_fold"]
    return _table(
        ("class", "kind", "images", "likely generated", "uncertain", "likely real", "out of domain"),
        [
            (label, *_verdicts(row), _share(row["out_of_domain"]))
            for label, name in (("REAL", "real"), ("FAKE", "generated"))
            for row in sorted(found[f"{name}_by_kind"], key=lambda row: row["images"])
        ],
    )


def photograph_robustness() -> str:
    """The detector for photographs on changed images."""
    rows = _read(PHOTOGRAPH_ROBUSTNESS)["conditions"]
    return _table(
        (
            "change",
            "AUC",
            "real accused",
            "generated found",
            "uncertain",
        ),
        [
            (
                row["condition"],
                f"{row['auc']:.3f}",
                *(_share(row[name]) for name in ("accused", "found", "uncertain")),
            )
            for row in rows
        ],
    )


def photograph_speed() -> str:
    """The detector for photographs by each engine and its peers."""
    return _medians(PHOTOGRAPH_SPEED)


def page_speed() -> str:
    """The web page in Chromium."""
    return _medians(PAGE_SPEED)


def network_speed() -> str:
    """Images a second of the CIFAKE network by library, a column a batch size."""
    rates: dict[str, dict[str, str]] = {}
    for row in _read(SPEED)["rows"]:
        library, _, size = row["what"].partition(", batch ")
        if row["section"] == "network" and size and library != "TensorFlow, as in the file":  # which is float32
            rates.setdefault(library, {})[size] = f"{row['value']:.0f}"
    sizes = ("1", "8", "16", "32")
    return _table(
        ("images/s", *(f"batch {size}" for size in sizes)),
        [(library, *(found.get(size, "") for size in sizes)) for library, found in rates.items()],
    )


def latency() -> str:
    """Milliseconds for one image by library."""
    rows = [row for row in _read(SPEED)["rows"] if row["section"] == "network" and row["what"].endswith(", one image")]
    rows.sort(key=lambda row: row["value"])
    return _table(
        ("one image", "median", "quartiles"),
        [
            (
                row["what"].removesuffix(", one image"),
                f"{row['value']:.1f} ms",
                f"{row['low']:.1f} to {row['high']:.1f}",
            )
            for row in rows
        ],
    )


def surroundings_speed() -> str:
    """What is around the CIFAKE network."""
    wanted = ("reading", "in process, from encoded images", "REST, JPEG 256 x 256", "server", "start")
    return _medians(SPEED, lambda row: row["section"] in wanted)


def training_speed() -> str:
    """Training, beside PyTorch."""
    return _medians(SPEED, lambda row: row["section"].startswith("training"))


def light_variants() -> str:
    """What each `.tflite` costs and loses, by engine."""
    return format_rows(_read(LIGHT_VARIANTS))


def _medians(benchmark: str, wanted: Callable[[dict[str, Any]], bool] = lambda row: True) -> str:
    """The rows of one run of `deepfake-tf benchmark`."""
    digits = lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return _table(
        ("what", "median", "quartiles"),
        [
            (
                f"{row['section']}: {row['what']}",
                f"{digits(row['value'])} {row['unit']}",
                f"{digits(row['low'])} to {digits(row['high'])}" if row["low"] < row["high"] else "",
            )
            for row in _read(benchmark)["rows"]
            if wanted(row)
        ],
    )


def conclusions() -> str:
    """Every conclusion: its code, the side it comes down to, its sentence."""
    return _table(("`conclusion`", "side", "`sentence`"), [(f"`{code}`", *words) for code, words in ANSWERS.items()])


def watermark() -> str:
    """How many marked photographs the watermark is found in, by what was done to them."""
    rows = _read(WATERMARK)["changes"]
    programs = [name for name in rows[0] if name != "change"]
    return _table(
        ("change", *programs), [(row["change"], *(f"{100 * row[name]:.0f} %" for name in programs)) for row in rows]
    )


def watermark_data() -> str:
    """What was marked, and what was looked at without a mark."""
    measured = _read(WATERMARK)
    unmarked = measured["unmarked"]
    return (
        f"Measured on {measured['photographs']} photographs with short sides of at most 336 pixels: a square of each, "
        "enlarged to 512 to\n1,024 pixels and marked in the way of each program. Photographs of that size as cameras "
        f"give them were not at hand.\nIn {unmarked['images']:,} real photographs without a mark, "
        f"{unmarked['found'] or 'none'} was found.\n"
    )


def watermark_chance() -> str:
    """How often a mark is seen where there is none."""
    chance = f"1 in {round(1 / FALSE_ALARMS):,}"
    return (
        "How many bits of the message must be right follows from the number of bits: by chance, fewer than "
        f"{chance} images\nhave so many.\n"
    )


FIGURES: dict[str, Callable[[], str]] = {
    "headline": headline,
    "metrics": metrics,
    "decision": decision,
    "classes": classes,
    "robustness": robustness,
    "load": load,
    "light-outputs": light_outputs,
    "photograph-headline": photograph_headline,
    "photograph": photograph,
    "photograph-generators": photograph_generators,
    "photograph-sources": photograph_sources,
    "photograph-kinds": photograph_kinds,
    "photograph-robustness": photograph_robustness,
    "teacher": teacher,
    "teacher-classes": teacher_classes,
    "transformer-robustness": transformer_robustness,
    "photograph-speed": photograph_speed,
    "page-speed": page_speed,
    "network-speed": network_speed,
    "latency": latency,
    "surroundings-speed": surroundings_speed,
    "training-speed": training_speed,
    "light-variants": light_variants,
    "conclusions": conclusions,
    "watermark": watermark,
    "watermark-data": watermark_data,
    "watermark-chance": watermark_chance,
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


def _read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def _figure(value: float, percent: bool) -> str:
    return f"{100 * value:.2f} %" if percent else f"{value:.4f}"


def _interval(metric: dict[str, float], percent: bool) -> str:
    return f"{_figure(metric['low'], percent)} to {_figure(metric['high'], percent)}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _verdicts(row: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a source: its name, how many images, and the shares of the verdicts."""
    return (row["source"], f"{row['images']:,}", *(_share(row[name]) for name in VERDICTS))


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join("| " + " | ".join(cells).rstrip() + " |\n" for cells in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
