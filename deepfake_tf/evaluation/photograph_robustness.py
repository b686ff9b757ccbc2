"""Does the answer about a photograph outlast what the web does to photographs?

    photograph_robustness.json    a row a condition, and which files have no score
    photograph_robustness.csv     the rows
    photograph_robustness.png     accuracy under each condition

Verdicts count here: how often a real photograph is accused, and a generated one found, with the deployed threshold and
band. Images are changed at their own size. Those whose short side a change brings under what the detector for
photographs accepts are left out of its row, which says how many, and are compared with the same images as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL, VERDICT_GENERATED, VERDICT_UNCERTAIN, unexpected
from deepfake_tf.detectors import photograph
from deepfake_tf.evaluation import changes
from deepfake_tf.evaluation.metrics import auc, share_of, wilson_interval
from deepfake_tf.evaluation.robustness import CLEAN, draw_robustness
from deepfake_tf.plots import encode_figure
from deepfake_tf.progress import progress_bar
from deepfake_tf.reading import admission, pillow_reader
from deepfake_tf.reading.files import read_file, reason_of
from deepfake_tf.text import as_utf8, format_csv, json_text, printable
from deepfake_tf.writing import write_together

if TYPE_CHECKING:
    from deepfake_tf.data.examples import Examples
    from deepfake_tf.engines.detector import Detector, Prediction

Change = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, 3] -> uint8 [H', W', 3]

SHORTEST_SIDE = photograph.SPEC.shortest_side  # pixels
LONGEST_SIDE = 16_383  # pixels; WebP holds no more
SCREEN = (1080, 2400)  # pixels of a phone
BATCH_SIZE = 4  # uncompressed: a batch of 12-megapixel photographs takes 144 MB, and three are on their way at once

CONDITIONS: dict[str, Change] = {
    **{f"JPEG quality {quality}": partial(changes.compress_jpeg, quality=quality) for quality in (90, 70, 50, 30)},
    "WebP quality 80": partial(changes.compress_webp, quality=80),
    **{f"scale {factor}": partial(changes.resize, factor=factor) for factor in (0.75, 0.5, 0.25)},
    **{f"scale {factor} and back": partial(changes.resize_and_back, factor=factor) for factor in (0.75, 0.5, 0.25)},
    **{f"blur sigma {sigma}": partial(changes.blur, sigma=sigma) for sigma in (1, 2)},
    **{f"noise {sigma}/255": partial(changes.add_noise, sigma=sigma) for sigma in (4, 8)},
    "centre crop 80 %": partial(changes.crop_centre, share=0.8),
    "screenshot, JPEG quality 85": partial(changes.screenshot, width=SCREEN[0], height=SCREEN[1], quality=85),
}


def evaluate_photograph_robustness(
    detector: Detector,
    examples: Examples,
    output_dir: str | Path,
    description: Mapping[str, Any] | None = None,
    conditions: Mapping[str, Change] = CONDITIONS,
) -> list[dict[str, Any]]:
    """Score labelled photographs as they are and under every condition, and write the files, all or none.

    Each file is decoded once, by Pillow, and handed on as pixels; nothing here needs TensorFlow. An engine of
    TensorFlow, which decodes JPEGs by itself, may see the clean file one grey level otherwise.

    Args:
        detector: Detector, with any engine.
        examples: Examples, of one class or both.
        output_dir: str or Path. Made where it is missing.
        description: JSON-able. What was evaluated on what; kept in the JSON, beside `images`, `errors`, name -> why a
            file has no score, and `conditions`, the rows.
        conditions: name -> change; their order is that of the rows.

    Returns:
        JSON-able rows, "clean" first: `condition`; `images` that were measured; `left_out`, how many were too small, or
        larger than WebP holds; `accuracy` of the label at the deployed threshold; `accused`, the share of REAL that is
        likely generated; `found`, the share of FAKE that is; each with the ends of its 95 % Wilson interval, `..._low`
        and `..._high`; `uncertain`, a share of all; `auc`; 0..1 all. `drop_points`: the accuracy lost against the same
        images as they are, in percentage points. None where there are no images to tell by.

    Raises:
        ValueError: no image can be measured. Says why of the first.
        ConnectionError: the detector asks a server that does not answer. A file alone ends no run.
    """
    all_conditions: dict[str, Change] = {CLEAN: lambda image: image, **conditions}
    answers: dict[str, dict[int, Prediction]] = {name: {} for name in all_conditions}
    left_out = dict.fromkeys(all_conditions, 0)
    errors: dict[int, str] = {}
    asked: deque[tuple[int, str]] = deque()  # what the detector was handed and has not yet answered

    def changed_images() -> Iterator[np.ndarray]:
        for index, file in enumerate(examples.files):
            image, error = _decode(file)
            if image is None:
                errors[index] = error
                bar.update()
                continue
            for name, change in all_conditions.items():
                changed = change(image) if max(image.shape) <= LONGEST_SIDE else None
                if changed is None or min(changed.shape[:2]) < SHORTEST_SIDE:
                    left_out[name] += 1
                    continue
                asked.append((index, name))
                yield changed
            bar.update()

    with progress_bar(len(examples), "scoring", "image") as bar:
        for prediction in detector.predict_iter(changed_images(), BATCH_SIZE):
            index, name = asked.popleft()
            if prediction.error:
                errors.setdefault(index, f"{name}: {prediction.error}")
            else:
                answers[name][index] = prediction
    if not answers[CLEAN]:
        first = f" Received: {printable(examples.names[min(errors)])}: {errors[min(errors)]}" if errors else ""
        raise ValueError(
            f"No image can be measured: a photograph's short side has {SHORTEST_SIDE} pixels or more. Of "
            f"{len(examples)}, {left_out[CLEAN]} are smaller and {len(errors)} cannot be scored.{first}"
        )
    rows = [_row(name, examples.labels, given, answers[CLEAN], left_out[name]) for name, given in answers.items()]
    _write(Path(output_dir), rows, examples, errors, description)
    return rows


def format_photograph_robustness(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `evaluate_photograph_robustness` as lines for a terminal."""
    width = max(map(len, ("condition", *(row["condition"] for row in rows))))
    percent = lambda share: "      -" if share is None else f"{100 * share:5.1f} %"
    lines = [f"{'condition':<{width}}  images  left out  accuracy    AUC  accused    found  uncertain"]
    lines += [
        f"{row['condition']:<{width}}  {row['images']:>6}  {row['left_out']:>8}   {percent(row['accuracy'])}  "
        f"{'    -' if row['auc'] is None else format(row['auc'], '5.3f')}  {percent(row['accused'])}  "
        f"{percent(row['found'])}    {percent(row['uncertain'])}"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _decode(file: str | bytes) -> tuple[np.ndarray | None, str]:
    """uint8 [H, W, 3], or None and why."""
    try:
        encoded, error = admission.admit(read_file(file) if isinstance(file, str) else file)
        return (None, error) if error else (pillow_reader.decode(encoded, upright=True), "")
    except OSError as error:
        return None, reason_of(error)
    except Exception as error:  # one file, whatever is wrong with it, ends no run
        return None, unexpected(error)


def _row(
    name: str, labels: np.ndarray, given: Mapping[int, Prediction], clean: Mapping[int, Prediction], left_out: int
) -> dict[str, Any]:
    positions = [index for index in given if index in clean]
    truth = labels[positions] if positions else np.zeros(0, int)
    fakes, reals = truth == FAKE, truth == REAL
    verdicts = np.array([given[index].verdict for index in positions])
    probabilities = np.array([given[index].probability for index in positions])
    right = _right(given, positions, truth)
    row: dict[str, Any] = {"condition": name, "images": len(positions), "left_out": left_out}
    shares = {
        "accuracy": right,
        "accused": verdicts[reals] == VERDICT_GENERATED,
        "found": verdicts[fakes] == VERDICT_GENERATED,
    }
    for key, answers in shares.items():
        row[key] = share_of(answers)
        row[f"{key}_low"], row[f"{key}_high"] = wilson_interval(answers)
    row["uncertain"] = share_of(verdicts == VERDICT_UNCERTAIN)
    row["auc"] = auc(probabilities[reals], probabilities[fakes])
    lost = int(_right(clean, positions, truth).sum()) - int(right.sum())
    row["drop_points"] = 100 * lost / len(positions) if positions else None
    return row


def _right(given: Mapping[int, Prediction], positions: Sequence[int], truth: np.ndarray) -> np.ndarray:
    """bool [N]: whether the label is the true one."""
    pairs = zip(positions, truth)
    return np.array([given[index].label == LABEL_NAMES[label] for index, label in pairs], bool)


def _write(
    output_dir: Path,
    rows: Sequence[dict[str, Any]],
    examples: Examples,
    errors: Mapping[int, str],
    description: Mapping[str, Any] | None,
) -> None:
    report = {
        "description": dict(description or {}),
        "images": len(examples),
        "errors": {as_utf8(examples.names[index]): error for index, error in errors.items()},
        "conditions": rows,
    }
    measured = [row for row in rows if row["images"]]
    stem = output_dir / "photograph_robustness"
    write_together(
        {
            stem.with_suffix(".png"): encode_figure(draw_robustness(measured)),
            stem.with_suffix(".csv"): format_csv([list(rows[0]), *(row.values() for row in rows)]).encode(),
            stem.with_suffix(".json"): (json_text(report, indent=2) + "\n").encode(),
        }
    )
