"""Whether the labels agree with what a trained model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_tf.audit.findings import LOOK, OK, STOP, Check, Gallery
from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL
from deepfake_tf.data.examples import Examples
from deepfake_tf.progress import progress_bar
from deepfake_tf.text import plural

if TYPE_CHECKING:
    from deepfake_tf.engines.detector import Detector

SAMPLE = 500  # images of a class
MIN_JUDGED = 20  # images of a class in the model's domain
INVERTED_AGREEMENT = 0.3  # below it, the labels look inverted: chance is 0.5
POOR_AGREEMENT = 0.7
CONTRADICTING_SHARE = 0.05  # of the images judged
PICTURED = 24


def check_labels(examples: Examples, readable: np.ndarray, detector: Detector) -> Check:
    """Agreement of the labels with a model, on a sample; images out of the model's domain are not judged.

    Args:
        examples: Examples.
        readable: bool [N].
        detector: a Detector. On the images that it was trained on, agreement proves little; disagreement does.
    """
    positions = sample_positions(examples.labels, readable)
    judged, probabilities, says_fake = _score(examples, positions, detector)
    labels = examples.labels[judged]
    out_of_domain = len(positions) - len(judged)
    details: dict[str, Any] = {"sampled": len(positions), "out_of_domain_or_unscored": out_of_domain}
    if min(np.sum(labels == REAL), np.sum(labels == FAKE)) < MIN_JUDGED:
        return Check(
            "labels",
            LOOK,
            f"Not checked: of {plural(len(positions), 'image')} sampled the model could judge {len(judged):,}; "
            f"{MIN_JUDGED} of each class are needed, in its domain.",
            "Look at samples of both classes in the report, or name a model of this kind of images.",
            details,
        )

    agreement = {
        name: float(np.mean(says_fake[labels == label] == bool(label))) for label, name in enumerate(LABEL_NAMES)
    }
    balanced = float(np.mean(list(agreement.values())))
    inverted = balanced < INVERTED_AGREEMENT
    # Thresholds of confident learning come from the labels: of inverted ones they would list the good images.
    contradicting = confident_contradictions(FAKE + REAL - labels if inverted else labels, probabilities)
    finding = (
        f"The model agrees with {agreement['REAL']:.1%} of the REAL and {agreement['FAKE']:.1%} of the FAKE labels of "
        f"{plural(len(judged), 'image')} in its domain"
    )
    finding += f" ({out_of_domain:,} out of it)." if out_of_domain else "."
    if len(positions) < np.sum(readable):
        finding += f" This is a sample of {len(positions):,}."
    if inverted:
        verdict, remedy = STOP, "Look at the pictures, then read the data with --swap-labels."
        finding += " Far below chance: the labels look inverted."
    elif balanced < POOR_AGREEMENT:
        verdict, remedy = LOOK, "Look at the contradictions: wrong labels, or a generator that the model does not know."
    elif len(contradicting) > CONTRADICTING_SHARE * len(judged):
        verdict, remedy = LOOK, "Look at the contradictions in the report and correct what is wrong."
    else:
        verdict, remedy = OK, ""
    if len(contradicting):
        verb = "contradicts its label" if len(contradicting) == 1 else "contradict their labels"
        finding += f" {plural(len(contradicting), 'image')} {verb} with high confidence"
        finding += ", even when swapped." if inverted else "."
    details |= {
        "judged": len(judged),
        "agreement": {name: round(share, 4) for name, share in agreement.items()},
        "balanced_agreement": round(balanced, 4),
        "inverted": inverted,
        "contradictions": [
            {
                "file": examples.names[judged[i]],
                "label": LABEL_NAMES[labels[i]],
                "probability": round(float(probabilities[i]), 4),
            }
            for i in contradicting
        ],
    }
    return Check(
        "labels", verdict, finding, remedy, details, _galleries(judged, labels, says_fake, contradicting, inverted)
    )


def not_checked(reason: str) -> Check:
    """The check of a set that no model could be found for."""
    return Check("labels", LOOK, f"Not checked: {reason}", "Name a SavedModel with --model.")


def sample_positions(labels: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """At most SAMPLE positions of each class, the same ones each time; sorted int64."""
    rng = np.random.default_rng(0)
    chosen = []
    for label in (REAL, FAKE):
        members = np.flatnonzero(readable & (labels == label))
        chosen.append(rng.choice(members, min(SAMPLE, len(members)), replace=False))
    return np.sort(np.concatenate(chosen))


def confident_contradictions(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Images that confidently belong to the other class, by confident learning.

    An image counts for a class where the class's probability reaches the mean that images labelled so get (Northcutt,
    Jiang and Chuang, "Confident Learning", JAIR 2021, equation 2).

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL; both present.
        probabilities: float [N]. P(FAKE), 0..1.

    Returns:
        int64 [K], positions, the most confident contradiction first.
    """
    of_class = np.stack([1 - probabilities, probabilities], axis=1)
    thresholds = np.array([of_class[labels == label, label].mean() for label in (REAL, FAKE)])
    other = FAKE + REAL - labels
    every = np.arange(len(labels))
    confident = (of_class[every, other] >= thresholds[other]) & (of_class[every, other] > of_class[every, labels])
    positions = np.flatnonzero(confident)
    return positions[np.argsort(-of_class[positions, other[positions]], kind="stable")]


def _score(examples: Examples, positions: np.ndarray, detector: Detector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the images in the domain, their P(FAKE), and whether the model's threshold makes them FAKE."""
    judged, probabilities, says_fake = [], [], []
    predictions = detector.predict_iter(examples.files[i] for i in positions)
    for prediction, position in zip(progress_bar(len(positions), "checking labels", "image", predictions), positions):
        if prediction.in_domain and not prediction.error:
            judged.append(position)
            probabilities.append(prediction.probability)
            says_fake.append(prediction.label == LABEL_NAMES[FAKE])
    return np.array(judged, np.int64), np.array(probabilities, np.float64), np.array(says_fake, bool)


def _galleries(
    judged: np.ndarray, labels: np.ndarray, says_fake: np.ndarray, contradicting: np.ndarray, inverted: bool
) -> tuple[Gallery, ...]:
    galleries = []
    if inverted:
        for label, name in enumerate(LABEL_NAMES):
            members = judged[(labels == label) & (says_fake != bool(label))][:PICTURED].tolist()
            galleries.append(Gallery(f"Labelled {name}, and {LABEL_NAMES[1 - label]} to the model", [members]))
    if len(contradicting):
        galleries.append(Gallery("Contradict with high confidence", [judged[contradicting[:PICTURED]].tolist()]))
    return tuple(galleries)
