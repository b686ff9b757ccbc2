import numpy as np
import pytest

from deepfake_tf.training.photograph.heads import LinearHead


def test_the_logit_is_a_sum_over_blocks_and_dimensions():
    generator = np.random.default_rng(0)
    head = LinearHead(generator.normal(size=(10, 768)).astype(np.float32), 0.5)
    cls = generator.normal(size=(3, 10, 768)).astype(np.float16)
    expected = [(cls[i].astype(float) * head.weight).sum() + 0.5 for i in range(3)]
    logits = head.logits(cls)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-3)


def test_other_features_are_refused():
    head = LinearHead(np.zeros((10, 768), np.float32), 0.0)
    with pytest.raises(ValueError, match=r"\[N, 10, 768\]. Received: \[2, 12, 768\]"):
        head.logits(np.zeros((2, 12, 768)))
