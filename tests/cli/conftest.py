import pytest

from tests.images import broken_images, good_images


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "deeper").mkdir()
    for name, data in good_images().items():
        (folder / name).write_bytes(data)
    for name, (data, _) in broken_images().items():
        (folder / "deeper" / name).write_bytes(data)
    (folder / "notes.txt").write_text("no image, and not named like one")
    return folder
