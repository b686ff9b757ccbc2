"""CIFAKE as a tensorflow-datasets builder: `tfds.load("cifake/full")` once this module is imported.

The splits are the published ones. No validation split is made here: 920 groups of equal images stand in
train/FAKE, and only `deepfake_tf.data.examples.split_validation`, which sees the pixels, keeps them on one side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import tensorflow_datasets as tfds

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.data.cifake import archive


class Builder(tfds.core.GeneratorBasedBuilder):
    """CIFAKE, https://github.com/jordan-bird/CIFAKE-Real-and-AI-Generated-Synthetic-Images.

    The labels are REAL (0) and FAKE (1), the other way round than the order of the folders' names.

    Args:
        images: dict, name -> encoded JPEG image. What `archive.read_images` returns; without it, the public
            archive is downloaded.
        **kwargs: as of tfds.core.GeneratorBasedBuilder; `config` is "full" (the default) or "train".
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": f"The images of commit {archive.COMMIT[:12]}."}  # noqa: RUF012  as in tfds's own builders
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="full", description="The train and the test split."),
        tfds.core.BuilderConfig(name="train", description="The train split, from an archive without the test split."),
    ]

    def __init__(self, *, images: Mapping[str, bytes] | None = None, **kwargs):
        super().__init__(**kwargs)
        self._images = images

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=LABEL_NAMES),
                    "file_name": tfds.features.Text(),  # such as "train/FAKE/1000 (2).jpg"
                }
            ),
            supervised_keys=("image", "label"),
            homepage=archive.REPOSITORY,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        if self._images is None:
            self._images = archive.read_images(dl_manager.download(archive.DOWNLOAD_URL))
        splits = ("train", "test") if self.builder_config.name == "full" else ("train",)
        return {split: self._generate_examples(self._images, split) for split in splits}

    def _generate_examples(self, images: Mapping[str, bytes], split: str) -> Iterator[tuple[str, dict]]:
        for name, image in images.items():
            if name.startswith(f"{split}/"):
                # Encoded bytes are stored as they are: the JPEG traces stay those of the archive.
                yield name, {"image": image, "label": name.split("/")[1], "file_name": name}
