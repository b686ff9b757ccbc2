"""`deepfake-tf features`: what the photograph detector's network sees in labelled images, computed once."""

from __future__ import annotations

import argparse

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK
from deepfake_tf.shipped import shipped_backbone
from deepfake_tf.text import plural
from deepfake_tf.writing import check_folder


def add(commands: Commands) -> None:
    command = add_command(
        commands, "features", run, "Compute features of labelled photographs, to train the photograph detector on."
    )
    command.add_argument(
        "data",
        metavar="FOLDER",
        help="holds REAL/SOURCE/ and FAKE/GENERATOR/, or a manifest.csv of path, label, repository, generator and kind",
    )
    command.add_argument(
        "--weights",
        metavar="FILE",
        help="CLIP ViT-B/16's: model.safetensors of Hugging Face's openai/clip-vit-base-patch16, an .npz, or a "
        "backbone.tflite; default: the one that ships",
    )
    command.add_argument("--output", required=True, metavar="DIR", help="the cache; a run that was cut goes on there")
    command.add_argument("--copies", type=int, default=3, metavar="N", help="random views an image; default: 3")


def run(options: argparse.Namespace) -> int:
    if options.copies < 0:
        raise ValueError(f"--copies must be 0 or more. Received: {options.copies}")
    check_folder(options.output)
    from deepfake_tf.training.photograph.features import extract, load_features

    extract(options.data, options.output, options.weights or shipped_backbone(), options.copies)
    features = load_features(options.output)
    for error in features.errors:
        print(f"left out: {error}")
    views = plural(1 + options.copies, "view")
    print(f"features of {plural(len(features.images), 'image')}, {views} each, in {options.output}")
    return EXIT_OK
