import dataclasses

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from deepfake_tf.detectors.photograph.views import central_view
from deepfake_tf.networks.clip_weights import load_clip_weights
from deepfake_tf.networks.vit_b16 import build_vit_b16
from deepfake_tf.shipped import shipped_backbone
from deepfake_tf.training.photograph import features
from deepfake_tf.training.photograph.features import extract, list_photographs, load_features
from deepfake_tf.training.photograph.random_views import random_view
from tests.cli.running import run
from tests.images import encode, photograph
from tests.networks import reference_vit_b16 as reference


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "clip.npz"
    np.savez(path, **reference.random_arrays(seed=0, blocks=1))
    return path


@pytest.fixture
def data(write_images):
    return write_images({"REAL/camera": 2, "FAKE/flux": 1}, size=(260, 240))


def quiet(line: str) -> None: ...


def test_features_are_those_of_the_views(data, weights, tmp_path):
    extract(data, tmp_path / "cache", weights, copies=1, blocks=1, dtype="float32", report=quiet)
    cached = load_features(tmp_path / "cache")
    assert [image.path for image in cached.images] == ["REAL/camera/0.png", "REAL/camera/1.png", "FAKE/flux/0.png"]
    assert cached.labels.tolist() == [0, 0, 1]
    assert cached.repositories.tolist() == ["camera", "camera", "flux"]
    assert cached.cls.shape == (2, 3, 1, 768)
    assert cached.cls.dtype == np.float16
    assert cached.sizes.tolist() == [[260, 240]] * 3
    assert cached.square.tolist() == [False] * 3
    assert cached.errors == ()
    network = build_vit_b16(224, 1)
    load_clip_weights(network, weights)
    for row, image in enumerate(cached.images):
        pixels = np.asarray(Image.open(data / image.path).convert("RGB"))
        views = np.stack([central_view(pixels), random_view(pixels, image.path, 1)])
        expected = np.asarray(network(views)["cls"])
        np.testing.assert_allclose(cached.cls[:, row].astype(np.float32), expected, atol=0.01, rtol=0.01)


def test_a_cut_run_goes_on(data, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "PIECE_IMAGES", 2)
    lines = []

    def cut(line):
        lines.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=cut)
    with pytest.raises(ValueError, match="2 of 3 images have features of copy 0"):
        load_features(tmp_path / "cache")
    extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=lines.append)
    assert lines == ["copy 0 of 0: 2 of 3 images", "copy 0 of 0: 3 of 3 images"]
    assert load_features(tmp_path / "cache").cls.shape == (1, 3, 1, 768)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_damaged_image_is_named_and_left_out(data, weights, tmp_path):
    (data / "REAL/camera/1.png").write_bytes(b"no image")
    extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=quiet)
    cached = load_features(tmp_path / "cache")
    assert [image.path for image in cached.images] == ["REAL/camera/0.png", "FAKE/flux/0.png"]
    assert len(cached.errors) == 1
    assert cached.errors[0].startswith("REAL/camera/1.png: ")


def test_a_repaired_image_stays_left_out_of_a_cache_without_it(data, weights, tmp_path):
    whole = (data / "REAL/camera/1.png").read_bytes()
    (data / "REAL/camera/1.png").write_bytes(b"no image")
    extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=quiet)
    (data / "REAL/camera/1.png").write_bytes(whole)
    extract(data, tmp_path / "cache", weights, copies=1, blocks=1, report=quiet)
    cached = load_features(tmp_path / "cache")
    assert [image.path for image in cached.images] == ["REAL/camera/0.png", "FAKE/flux/0.png"]
    assert cached.cls.shape[0] == 2
    assert cached.cls.any(axis=(2, 3)).all()


def test_a_source_is_the_first_folder_below_the_class(write_images, tmp_path_factory):
    data = write_images({"REAL/flickr/2019": 1, "REAL/flickr/2020": 1, "REAL": 1, "FAKE/flux": 1})
    linked = tmp_path_factory.mktemp("elsewhere")
    (data / "FAKE/flux/0.png").rename(linked / "0.jfif")
    (data / "FAKE/linked").symlink_to(linked)
    (data / "FAKE/._0.png").write_bytes(b"of macOS")
    found = {image.path: image.repository for image in list_photographs(data)}
    assert found == {
        "REAL/0.png": "unknown",
        "REAL/flickr/2019/0.png": "flickr",
        "REAL/flickr/2020/0.png": "flickr",
        "FAKE/linked/0.jfif": "linked",
    }


def test_a_cache_of_something_else_is_refused(data, weights, tmp_path):
    extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=quiet)
    with pytest.raises(ValueError, match="another network"):
        extract(data, tmp_path / "cache", weights, copies=0, blocks=1, dtype="float32", report=quiet)
    Image.new("RGB", (8, 8)).save(data / "REAL/camera/9.png")
    with pytest.raises(ValueError, match="other images"):
        extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=quiet)


def test_a_cache_made_under_another_law_is_refused(data, weights, tmp_path, monkeypatch):
    extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=quiet)
    extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=quiet)  # the same: it goes on
    monkeypatch.setattr(features, "LAW", 77)
    with pytest.raises(ValueError, match=r"another law of random views.* Received: .*'law_of_random_views': 77"):
        extract(data, tmp_path / "cache", weights, copies=0, blocks=1, report=quiet)


def test_the_manifest_is_read(tmp_path):
    (tmp_path / "manifest.csv").write_text(
        "path,label,generator,repository,kind\na.jpg,REAL,camera,one/x,photo\nb.jpg,FAKE,flux,two/y,mixed\n"
    )
    images = list_photographs(tmp_path)
    assert [dataclasses.astuple(image) for image in images] == [
        ("a.jpg", 0, "one/x", "camera", "photo"),
        ("b.jpg", 1, "two/y", "flux", "mixed"),
    ]


def test_a_manifest_may_come_from_excel(tmp_path):
    text = "path,label,generator,repository\na.jpg,REAL,camera,x\nb.jpg,FAKE,flux,y\n"
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8-sig")
    assert [image.path for image in list_photographs(tmp_path)] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "manifest",
    ["path,label\na.jpg,REAL\n", "path,label,generator,repository\na.jpg,maybe,x,y\n"],
    ids=["column", "label"],
)
def test_an_unusable_manifest_is_quoted(tmp_path, manifest):
    (tmp_path / "manifest.csv").write_text(manifest)
    with pytest.raises(ValueError, match=r"manifest.csv: a row needs path, label .* Received: \{'path': 'a.jpg'"):
        list_photographs(tmp_path)


def test_no_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.csv"):
        list_photographs(tmp_path)
    (tmp_path / "REAL").mkdir()
    (tmp_path / "FAKE").mkdir()
    with pytest.raises(ValueError, match="No REAL image"):
        list_photographs(tmp_path)
    with pytest.raises(FileNotFoundError, match="No cache of features"):
        load_features(tmp_path / "cache")


def test_without_weights_it_takes_the_backbone_that_ships(data, tmp_path):
    """What a head is trained on is what the shipped detector sees, by the same engine."""
    result = run("features", data, "--output", tmp_path / "cache", "--copies", "0")
    assert result.returncode == 0, result.stderr
    cached = load_features(tmp_path / "cache")
    interpreter = Interpreter(str(shipped_backbone()))
    interpreter.allocate_tensors()
    for image, cls in zip(cached.images, cached.cls[0]):
        view = central_view(np.asarray(Image.open(data / image.path).convert("RGB")))
        seen = interpreter.get_signature_runner()(pixels=view[None])["cls"][0]
        np.testing.assert_allclose(cls.astype(np.float32), seen, rtol=1e-3, atol=1e-3)  # float16


def test_photographs_are_seen_upright(write_images, weights, tmp_path):
    """A head must not be trained on what prediction turns."""
    data = write_images({"REAL/camera": 1, "FAKE/flux": 1}, size=(260, 240))
    shown, exif = photograph(260, 240), Image.Exif()
    exif[0x0112] = 6
    whole = {"quality": 100, "subsampling": 0}
    (data / "REAL/camera/0.png").unlink()
    (data / "REAL/camera/0.jpg").write_bytes(
        encode(shown.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, **whole)
    )
    (data / "REAL/camera/1.jpg").write_bytes(encode(shown, "JPEG", **whole))
    (data / "REAL/camera/2.png").write_bytes(encode(shown.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif))
    extract(data, tmp_path / "cache", weights, copies=0, blocks=1, dtype="float32", report=quiet)
    cached = load_features(tmp_path / "cache")
    assert cached.sizes[:3].tolist() == [[260, 240]] * 3
    turned, plain, png = cached.cls[0, :3].astype(np.float32)
    np.testing.assert_allclose(turned, plain, atol=0.02)
    np.testing.assert_allclose(png, plain, atol=0.05)  # without JPEG's rounding


@pytest.mark.parametrize("content", [b"nonsense" * 50, "head.tflite"])
def test_a_file_that_is_no_backbone_is_named(data, tmp_path, content):
    path = tmp_path / "other.tflite"
    path.write_bytes(content if isinstance(content, bytes) else shipped_backbone().with_name(content).read_bytes())
    with pytest.raises(ValueError, match=r"other.tflite is no backbone.tflite"):
        extract(data, tmp_path / "cache", path, copies=0, report=quiet)


def test_more_blocks_than_the_backbone_holds(data, tmp_path):
    with pytest.raises(ValueError, match=r"holds 10 blocks. Received: blocks=12"):
        extract(data, tmp_path / "cache", shipped_backbone(), copies=0, blocks=12, report=quiet)
