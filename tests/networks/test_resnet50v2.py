"""ResNet50V2: one network, built once, since building it takes seconds."""

from __future__ import annotations

import keras
import numpy as np

from deepfake_tf.networks import FEATURES_LAYER, HEAD_LAYER, build_model
from deepfake_tf.networks.pretrained import load_pretrained


def test_parameters_precision_and_pretrained_weights(monkeypatch):
    # Stands in for the download: the backbone that keras.applications would return, with known weights.
    source = keras.applications.ResNet50V2(include_top=False, weights=None)
    monkeypatch.setattr(keras.applications, "ResNet50V2", _return_for_imagenet(source, keras.applications.ResNet50V2))

    model = build_model("resnet50v2", image_size=64, dropout=0.2, dtype="mixed_bfloat16")

    assert keras.config.dtype_policy().name == "float32"  # the global policy is put back
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 23_521_409
    assert model.get_layer("conv5_block3_out").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert model.get_layer(FEATURES_LAYER).output.shape == (None, 2, 2, 2048)
    assert model.get_layer(HEAD_LAYER).units == 1
    assert "fresh: fc" in load_pretrained(model, "imagenet")
    backbone_weights = [weight for layer in source.layers for weight in layer.get_weights()]
    model_weights = [w for layer in model.layers if layer.name not in ("dropout", "fc") for w in layer.get_weights()]
    assert len(backbone_weights) == len(model_weights) > 200
    for expected, weight in zip(backbone_weights, model_weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    logit = model.predict_on_batch(np.zeros((1, 64, 64, 3), np.float32))
    assert logit.shape == (1, 1)
    assert np.isfinite(logit).all()


def _return_for_imagenet(source, build):
    return lambda weights, **options: source if weights == "imagenet" else build(weights=weights, **options)
