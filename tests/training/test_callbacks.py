import math

import keras
import pytest

from deepfake_tf.training.callbacks import BestWeights


def test_a_diverged_epoch_does_not_replace_the_best_weights(tmp_path):
    numbers = keras.Input((2,))
    model = keras.Model(numbers, keras.layers.Dense(1)(numbers))
    best = BestWeights(tmp_path / "best.weights.h5")
    best.set_model(model)
    best.on_epoch_end(0, {"val_loss": 0.5})
    before = (tmp_path / "best.weights.h5").read_bytes()
    with pytest.raises(ValueError, match="epoch 2 is no number.*lower --learning-rate"):
        best.on_epoch_end(1, {"val_loss": math.nan})
    assert (tmp_path / "best.weights.h5").read_bytes() == before
