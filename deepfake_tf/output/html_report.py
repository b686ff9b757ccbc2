"""A report to keep: one HTML file that needs nothing else, of one picture or of a batch; it prints well to PDF.

The template is `html_report.html` beside this file.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_tf import __version__, provenance
from deepfake_tf.conclusion import Conclusion, conclude
from deepfake_tf.contract import MAX_BATCH_SIZE, Explanation, Prediction
from deepfake_tf.detectors.bundle import describe_network, threshold_and_band
from deepfake_tf.detectors.registry import sees_central_square
from deepfake_tf.engines.detector import Detector
from deepfake_tf.html_pages import picture_uri, render_page
from deepfake_tf.output.heatmaps import draw_picture
from deepfake_tf.reading.files import read_file
from deepfake_tf.text import format_band, format_probability, plural

TEMPLATE = Path(__file__).with_suffix(".html")
SIDE_NAMES = {
    "generated": "Generated or edited with AI",
    "real": "Photographs",
    "conflict": "Contradictions",
    "unknown": "No clear answer",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """One image with all that is said of it.

    Attributes:
        name: str. The file's name.
        file: its path, or its bytes. Of many files the bytes need not fit into memory.
        explanation: Explanation, the detector's word.
        report: what the file says of itself.
        conclusion: Conclusion, from all of it.
        card: the model card of the detector that judged; empty where none is at hand.
    """

    name: str
    file: str | bytes
    explanation: Explanation
    report: provenance.Report
    conclusion: Conclusion
    card: Mapping[str, Any]

    @property
    def prediction(self) -> Prediction:
        return self.explanation.prediction

    @property
    def encoded(self) -> bytes:
        """The file's bytes; empty where it cannot be read, which the prediction says too."""
        try:
            return self.file if isinstance(self.file, bytes) else read_file(self.file)
        except OSError:
            return b""

    @property
    def has_number(self) -> bool:
        """Whether the probability means something."""
        return self.prediction.in_domain and not self.prediction.error


def answer_files(detector: Detector, paths: Sequence[str]) -> Iterator[Answer]:
    """Ask all witnesses about files, a batch at a time.

    Args:
        detector: Detector.
        paths: the files. One that cannot be read or scored gets an answer too, with the reason.

    Raises:
        ConnectionError, TimeoutError: the detector is behind an address, where nobody answers.
    """
    cards = detector.cards
    for start in range(0, len(paths), MAX_BATCH_SIZE):
        for explanation in detector.explain(paths[start : start + MAX_BATCH_SIZE]):
            prediction = explanation.prediction
            report = provenance.inspect(prediction.file)
            card = cards.get(prediction.detector, {})
            conclusion = conclude(prediction, report, card)
            yield Answer(prediction.file, prediction.file, explanation, report, conclusion, card)


def format_report(answers: Sequence[Answer]) -> str:
    """The report, as text that UTF-8 can hold.

    Args:
        answers: at least one.
    """
    return render_page(
        TEMPLATE,
        answers=answers,
        counts=Counter(answer.conclusion.side for answer in answers),
        side_names=SIDE_NAMES,
        title=f"Real or generated? {plural(len(answers), 'image')}",
        made=datetime.datetime.now(datetime.UTC),
        version=__version__,
        pictures=_pictures,
        facts=_facts,
    )


def _pictures(answer: Answer) -> list[tuple[str, str]]:
    """(data URI, alternative text): the image, and where there is a verdict the map of its evidence."""
    wanted: list[tuple[str, dict[str, Any]]] = [("The image.", {})]
    if answer.has_number:
        square = ", which is of the central square" if sees_central_square(answer.prediction.detector) else ""
        spoke = f"Bright regions spoke for {answer.prediction.label} on the heat map{square}."
        wanted.append((spoke, {"heatmap": answer.explanation.heatmap, "detector": answer.prediction.detector}))
    encoded = answer.encoded
    drawn = ((draw_picture(encoded, **options), words) for words, options in wanted)
    return [(picture_uri(picture), words) for picture, words in drawn if picture is not None]


def _facts(answer: Answer) -> Iterator[tuple[str, str]]:
    """(name, value) of what somebody needs who wants to check the report."""
    prediction, report = answer.prediction, answer.report
    width, height = (prediction.width, prediction.height) if prediction.width else (report.width, report.height)
    if report.format:
        yield "Format", f"{report.format}, {width} x {height} pixels" if width else report.format
    if encoded := answer.encoded:
        yield "File", f"{len(encoded):,} bytes"
        yield "SHA-256", hashlib.sha256(encoded).hexdigest()
    if prediction.error:
        yield "Without a score", prediction.error
        return
    yield "Verdict of the model", prediction.verdict
    if prediction.reason:
        yield "Out of domain", prediction.reason
    else:
        yield "Probability that it is generated", format_probability(prediction.probability)
        threshold, band = threshold_and_band(answer.card)
        if band:
            yield "Uncertain", f"{format_band(band)}; threshold {threshold:.1%}"
    yield "Detector", ", ".join(filter(None, (prediction.detector, describe_network(answer.card))))
