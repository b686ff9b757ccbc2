"""What the files say of their own origin, class by class."""

from __future__ import annotations

import numpy as np

from deepfake_tf.audit.findings import LOOK, OK, Check
from deepfake_tf.audit.labels import sample_positions
from deepfake_tf.data.examples import Examples
from deepfake_tf.provenance import evidence_share
from deepfake_tf.text import plural

TELLING_SHARE = 0.01  # of a class: below it, a file may have strayed in
_WORDS = {
    "generated": "say that they were generated",
    "ai_edited": "say that AI edited them",
    "captured": "name a camera",
}


def check_origins(examples: Examples, readable: np.ndarray) -> Check:
    """Whether metadata (Content Credentials, prompts, camera data) contradict the labels or give them away.

    Args:
        examples: Examples. A sample is looked at.
        readable: bool [N].
    """
    positions = sample_positions(examples.labels, readable)
    shares = evidence_share([examples.files[i] for i in positions], examples.labels[positions])
    said = [
        f"{share:.1%} of {class_name} {_WORDS[origin]}"
        for class_name, row in shares.items()
        for origin, share in row.items()
        if share > 0
    ]
    contradicts = shares["REAL"]["generated"] > 0 or shares["FAKE"]["captured"] > TELLING_SHARE
    gives_away = shares["FAKE"]["generated"] > TELLING_SHARE or shares["REAL"]["captured"] > TELLING_SHARE
    remedy = ""
    if contradicts:
        remedy = "The files themselves contradict their labels: list them with `deepfake-tf inspect`."
    elif gives_away:
        remedy = (
            "Strip the metadata before anything that reads more than pixels sees these files, and ask why one class "
            "alone has it."
        )
    return Check(
        "origin in metadata",
        LOOK if contradicts or gives_away else OK,
        f"Of {plural(len(positions), 'file')} sampled: "
        + ("; ".join(said) if said else "none says how it came to be")
        + ".",
        remedy,
        {"sampled": len(positions), "shares": shares},
    )
