import os
import stat
import subprocess
import sys
import threading

import pytest

from deepfake_tf.writing import check_file, check_folder, whole_file, write_whole


def test_interrupted_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")

    def write_half():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("metrics.json", "old")]


def test_folders_are_made_and_modes_kept(tmp_path):
    path = tmp_path / "new" / "deeper" / "file.txt"
    write_whole(path, "ü\n")
    assert path.read_bytes() == "ü\n".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o600)
    write_whole(path, b"private")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"private", 0o600)
    assert list(path.parent.iterdir()) == [path]


def test_the_longest_name_can_be_written_and_a_longer_one_is_named(tmp_path):
    write_whole(tmp_path / ("a" * 251 + ".png"), b"1")
    with pytest.raises(OSError, match="too long.*bbbb"):
        write_whole(tmp_path / ("b" * 256), b"1")
    with whole_file(tmp_path / "best.weights.h5") as temporary:
        assert temporary.name.endswith("best.weights.h5")  # Keras goes by the suffix
        temporary.write_bytes(b"1")


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_replaced_whole(tmp_path, exists):
    target, link = tmp_path / "there" / "target.txt", tmp_path / "link.txt"
    (tmp_path / "there").mkdir()
    if exists:
        target.write_text("old")
    (tmp_path / "between").symlink_to(target)
    link.symlink_to("between")
    old = target.open() if exists else None
    write_whole(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "between").is_symlink()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]
    if old:
        with old:
            assert old.read() == "old"  # another file took its place: no reader sees half of it


def test_links_in_a_circle_are_an_error_that_leaves_them(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="levels of symbolic links.*/a"):
        write_whole(tmp_path / "a", "x")
    assert (tmp_path / "a").is_symlink()


def test_a_device_is_written_to_and_stays_one(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    for path in ("/dev/null", link):
        write_whole(path, "x")
        with whole_file(path) as temporary:
            temporary.write_text("x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert list(tmp_path.iterdir()) == [link]


def test_a_named_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_whole(tmp_path / "pipe", "through it")
    reader.join(10)
    assert got == [b"through it"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_that_is_a_file_goes_on_where_it_stands(tmp_path, name):
    code = "from deepfake_tf.writing import write_whole\n"
    code += f"print('before'); write_whole({name!r}, 'rows\\n'); print('after')"
    with (tmp_path / "out.txt").open("wb") as file:
        file.write(b"earlier\n")
        file.flush()
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out.txt").read_text() == "earlier\nbefore\nrows\nafter\n"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert piped.stdout == "before\nrows\nafter\n"


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    check_file(tmp_path / "new" / "file")
    check_file("/dev/null")
    check_folder(tmp_path / "new" / "folder")
    with pytest.raises(IsADirectoryError, match="must be a file. Received a folder"):
        check_file(tmp_path)
    with pytest.raises(NotADirectoryError, match="file is no folder"):
        check_file(tmp_path / "file" / "below")
    with pytest.raises(NotADirectoryError, match="--litert must be a folder"):
        check_folder(tmp_path / "file", "--litert")
    with pytest.raises(NotADirectoryError, match="/dev/null"):
        check_folder("/dev/null")
    (tmp_path / "nowhere").symlink_to("missing/folder")
    with pytest.raises(NotADirectoryError):
        check_folder(tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "nowhere"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="may not be written to"):
        check_file(tmp_path / "file")
    with pytest.raises(PermissionError, match="file"):
        write_whole(tmp_path / "file", "x")
