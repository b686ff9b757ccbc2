import numpy as np
import pytest

from deepfake_tf.evaluation.deletion import measure_deletion


def network(turned: bool):
    """Speaks FAKE for the brightness of a view's left half, and shows that half, or the other one."""

    def run(views):
        heat = np.zeros((1, 10, 10), np.float32)
        heat[0, :, 5:] = turned
        heat[0, :, :5] = not turned
        return {"logit": views[:, :, :50].mean(axis=(1, 2, 3), keepdims=True)[:, 0, 0] / 10, "heatmap": heat}

    return run


@pytest.mark.parametrize(("turned", "share"), [(False, 1.0), (True, 0.0)])
def test_tells_a_right_map_from_a_wrong_one(turned, share):
    views = np.zeros((6, 100, 100, 3), np.uint8)
    views[:, :, :50] = np.arange(100, 220, 20)[:, None, None, None]
    deletion = measure_deletion(network(turned), views)
    assert deletion.share_moved_more == deletion.share_moved_away == share
    # A fifth of the patches, all in the left half: 40 % of it goes from its grey to the view's mean, half of that.
    expected = 0 if turned else 0.4 * np.arange(100, 220, 20) / 2 / 10
    np.testing.assert_allclose(deletion.shown, expected, atol=0.05)
