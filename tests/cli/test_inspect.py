import json

from PIL.PngImagePlugin import PngInfo

from tests.cli.running import run
from tests.images import photograph


def test_inspect_and_provenance_report_what_a_file_says(tmp_path, exported_model):
    text = PngInfo()
    text.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model: sd15")
    photograph(32, 32).save(tmp_path / "generated.png", pnginfo=text)
    photograph(32, 32).save(tmp_path / "plain.png")
    found, plain = json.loads(run("inspect", tmp_path, "--format", "json").stdout)
    assert [finding["says"] for finding in found["findings"]] == ["generated"]
    assert plain["findings"] == []
    result = run("predict", tmp_path / "generated.png", "--provenance", "--model", exported_model.path)
    assert "says that it was generated" in result.stderr
    assert "Pixels:" in result.stderr
    header, row = result.stdout.splitlines()[:2]
    (tmp_path / "broken.png").write_bytes((tmp_path / "generated.png").read_bytes()[:-60])
    files = [tmp_path / name for name in ("generated.png", "broken.png")]
    options = ("--provenance", "--format", "json", "--model", exported_model.path)
    scored, broken = json.loads(run("predict", *files, *options).stdout)
    assert "says that it was generated" in scored["provenance"]
    assert [finding["says"] for finding in scored["findings"]] == ["generated"]
    assert header.endswith("conclusion")
    assert row.endswith(scored["sentence"])
    assert scored["witness"] == broken["witness"] == "declaration"
    assert broken["conclusion"] == "declared_generated"
    assert broken["error"]
    assert "says that it was generated" in broken["provenance"]  # a file without a score still has its word
    assert broken["provenance"].endswith("Pixels: not scored.")
