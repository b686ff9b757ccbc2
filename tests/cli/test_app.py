from tests.cli.running import run


def test_app_without_a_model_or_a_server_says_so(tmp_path):
    missing = run("app", "--model", tmp_path / "nothing", DEEPFAKE_TF_URL="")
    assert missing.returncode == 2
    assert "No SavedModel in" in missing.stderr
    assert missing.stderr.count("\n") == 1
