import numpy as np
import pytest

from deepfake_tf import Detector, Prediction
from deepfake_tf.conclusion import conclude
from deepfake_tf.shipped import shipped_folder
from tests.images import broken_images, encode, good_images, photograph
from tests.provenance.metadata_files import PARAMETERS, png_with


@pytest.fixture(scope="module")
def detector(exported_model):
    return Detector(exported_model.path)


def test_one_image_gives_one_prediction_and_a_list_gives_a_list(detector, tmp_path):
    path = tmp_path / "photo.png"
    photograph(32, 32).save(path)
    prediction = detector.predict(path)
    assert isinstance(prediction, Prediction)
    assert (prediction.file, prediction.width, prediction.height, prediction.error) == (str(path), 32, 32, "")
    assert prediction.label in ("REAL", "FAKE")
    assert detector.predict([str(path)]) == [prediction]
    assert detector.predict([]) == []


def test_path_bytes_pil_and_array_agree(detector, tmp_path):
    image = photograph(32, 32, seed=5)
    path = tmp_path / "photo.png"
    image.save(path)
    images = [path, str(path), path.read_bytes(), image, np.asarray(image), image.convert("RGBA")]
    probabilities = [prediction.probability for prediction in detector.predict(images)]
    np.testing.assert_allclose(probabilities, probabilities[0], atol=1e-6)


def test_a_grey_array_is_a_grey_image(detector):
    grey = photograph(32, 32).convert("L")
    from_array, from_file = detector.predict([np.asarray(grey), encode(grey, "PNG")])
    assert from_array.probability == pytest.approx(from_file.probability, abs=1e-6)


@pytest.mark.parametrize(
    "array",
    [
        np.full((32, 32, 3), 2, np.float32),
        np.full((32, 32), np.nan, np.float32),
        np.zeros((32, 32, 3), np.int64),
        np.zeros((32, 32, 2), np.uint8),
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((1, 1, 32, 32, 3), np.uint8),
        np.zeros((0, 32, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused_by_shape_and_type(detector, array):
    with pytest.raises(ValueError, match=rf"Received: {array.dtype} \[{', '.join(map(str, array.shape))}\]"):
        detector.predict(array)


def test_what_is_no_image_is_refused(detector):
    with pytest.raises(TypeError, match="Received: int"):
        detector.predict(7)


def test_bad_files_are_rows_with_an_error(detector, tmp_path):
    broken = broken_images()
    for name, (data, _) in broken.items():
        (tmp_path / name).write_bytes(data)
    predictions = detector.predict([tmp_path / name for name in broken] + [tmp_path / "missing.png", tmp_path])
    for prediction, (_, message) in zip(predictions, broken.values()):
        assert message in prediction.error
    assert predictions[-2].error == "no such file or directory"
    assert predictions[-1].error == "is a directory"
    for prediction in predictions:
        assert (prediction.label, prediction.confidence, prediction.probability) == ("INVALID", 0.0, -1.0)
        assert (prediction.verdict, prediction.in_domain) == ("uncertain", False)


def test_batches_do_not_change_scores(detector):
    images = list(good_images().values())
    one_by_one = [detector.predict(image).probability for image in images]
    batched = [prediction.probability for prediction in detector.predict_iter(images, batch_size=5)]
    np.testing.assert_allclose(batched, one_by_one, atol=1e-5)


def test_explain_adds_a_heatmap(detector):
    explanation, broken = detector.explain([encode(photograph(32, 32), "PNG"), b"broken"])
    assert explanation.heatmap.shape == (7, 7)
    assert 0.0 <= explanation.heatmap.min() <= explanation.heatmap.max() <= 1.0
    assert explanation.prediction.error == ""
    assert "not an image" in broken.prediction.error


def test_one_answer_from_file_and_pixels(tmp_path):
    content = png_with(parameters=PARAMETERS)
    (tmp_path / "a.png").write_bytes(content)
    detector = Detector(shipped_folder(), engine="litert")
    assert detector.conclude(content) == detector.conclude(tmp_path / "a.png")
    assert detector.conclude(content).witness == "declaration"
    photograph(32, 32).save(tmp_path / "plain.png")
    prediction = detector.predict(tmp_path / "plain.png")
    report = detector.inspect(tmp_path / "plain.png")
    assert detector.conclude(tmp_path / "plain.png") == conclude(prediction, report, detector.cards["cifake"])
    assert detector.conclude(tmp_path / "missing.png").code == "not_scored"


def test_the_highest_version_of_a_folder_is_taken(exported_model, tmp_path):
    (tmp_path / "2").symlink_to(exported_model.path)
    (tmp_path / "10").symlink_to(exported_model.path)
    (tmp_path / ".1.exporting").mkdir()
    assert Detector(tmp_path).model_dir == tmp_path / "10"
    assert exported_model.card.items() <= Detector(tmp_path).card.items()  # export adds the known image's logit


def test_missing_and_foreign_models_are_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="No SavedModel in .*nowhere"):
        Detector(tmp_path / "nowhere")
    (tmp_path / "saved_model.pb").write_bytes(b"no protobuf")
    with pytest.raises(ValueError, match="holds no readable SavedModel"):
        Detector(tmp_path)
    monkeypatch.setenv("DEEPFAKE_TF_MODEL", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        Detector()


def test_many_images_keep_their_order_and_few_are_held(detector, tmp_path):
    seen = []

    def images():
        for seed in range(50):
            seen.append(seed)
            yield encode(photograph(32, 32 + seed, seed % 7), "PNG")

    heights = []
    for prediction in detector.predict_iter(images(), batch_size=4):
        heights.append(prediction.height)
        assert len(seen) - len(heights) <= 4 * 4  # a batch handed out, two at work, one to come
    assert heights == [32 + seed for seed in range(50)]


def test_what_is_no_image_is_refused_in_a_long_list_too(detector):
    with pytest.raises(TypeError, match="Received: int"):
        list(detector.predict_iter([encode(photograph(32, 32), "PNG")] * 20 + [7], batch_size=4))
