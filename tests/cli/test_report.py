from deepfake_tf.cli.exit_codes import EXIT_SOME_FAILED, EXIT_USAGE
from tests.cli.running import run
from tests.images import photograph


def test_report_is_written_whole_and_a_bad_file_is_in_it(tmp_path):
    photograph(300, 240).save(tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    result = run("report", tmp_path / "good.jpg", tmp_path / "bad.jpg", "--output", tmp_path / "report.html")
    assert result.returncode == EXIT_SOME_FAILED, result.stderr
    assert result.stdout == f"wrote {tmp_path / 'report.html'}: 2 images\n"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert "not an image in a supported format" in page


def test_report_says_at_once_that_its_place_cannot_be_written(tmp_path):
    photograph(300, 240).save(tmp_path / "good.jpg")
    result = run("report", tmp_path / "good.jpg", "--output", tmp_path)
    assert result.returncode == EXIT_USAGE
    assert str(tmp_path) in result.stderr
