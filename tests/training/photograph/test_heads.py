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


def test_a_head_survives_its_file(tmp_path):
    head = LinearHead(np.arange(6, dtype=np.float32).reshape(2, 3), -1.25)
    head.save(tmp_path / "head.npz")
    again = LinearHead.load(tmp_path / "head.npz")
    np.testing.assert_array_equal(again.weight, head.weight)
    assert again.bias == head.bias


def test_other_features_and_files_are_refused(tmp_path):
    head = LinearHead(np.zeros((10, 768), np.float32), 0.0)
    with pytest.raises(ValueError, match=r"\[N, 10, 768\]. Received: \[2, 12, 768\]"):
        head.logits(np.zeros((2, 12, 768)))
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(ValueError, match="lacks \\['bias'\\]"):
        LinearHead.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        LinearHead.load(tmp_path / "absent.npz")
