"""What metadata says: files as generators, cameras and editors write them, made here field by field."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from PIL import Image

from deepfake_tf.provenance import evidence_share, format_table, inspect, summarise
from tests.provenance.metadata_files import GRAPH, PARAMETERS, TERM, encode, exif_with, png_with, xmp_with


def told(image: bytes) -> set[tuple[str, str, str]]:
    report = inspect(image)
    assert report.error == ""
    return {(finding.source, finding.says, finding.strength) for finding in report.findings}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP"])
def test_nothing_found_is_said_to_mean_nothing(file_format):
    report = inspect(encode(file_format))
    assert (report.format, report.width, report.height) == (file_format, 40, 30)
    assert report.findings == ()
    assert "means nothing" in report.summary
    assert summarise(report, None).endswith("Pixels: not scored.")


@pytest.mark.parametrize(
    ("texts", "generator"),
    [
        ({"parameters": PARAMETERS}, "Stable Diffusion WebUI"),
        ({"prompt": GRAPH}, "ComfyUI"),
        ({"workflow": '{"last_node_id": 9, "nodes": []}'}, "ComfyUI"),
        ({"invokeai_metadata": '{"positive_prompt": "a cat"}'}, "InvokeAI"),
        ({"sd_dash_metadata": '{"image": {}}'}, "InvokeAI"),
        ({"Dream": '"a cat" -s 50'}, "InvokeAI"),
        ({"Software": "NovelAI"}, "NovelAI"),
        ({"Comment": '{"steps": 28, "n_samples": 1, "uc": "lowres"}'}, "NovelAI"),
        ({"fooocus_scheme": "fooocus"}, "Fooocus"),
        ({"parameters": '{"sui_image_params": {"prompt": "a cat"}}'}, "SwarmUI"),
        ({"use_stable_diffusion_model": "sd-v1-5"}, "Easy Diffusion"),
        ({"Description": "a cat --v 6 Job ID: 0a1b2c3d-0a1b-4c3d-8e9f-0a1b2c3d4e5f"}, "Midjourney"),
        ({"AIGC": '{"Label": "1", "ContentProducer": "x"}'}, "GB 45438"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_generators_are_known_by_their_png_texts(texts, generator, compressed):
    report = inspect(png_with(compressed=compressed, **texts))
    (finding,) = report.findings
    assert generator in finding.statement
    assert (finding.says, finding.strength) == ("generated", "declared")
    assert finding.source == f"PNG text {next(iter(texts)).replace('_dash_', '-')!r}"
    assert finding.raw.startswith(" ".join(next(iter(texts.values())).split())[:20])
    assert "says that it was generated" in report.summary


def test_words_that_generators_share_with_everybody_are_no_evidence():
    image = png_with(prompt="Enter a name", parameters="gain=3", Comment="Steps to reproduce", Description="Job ID: 7")
    assert told(image) == set()


@pytest.mark.parametrize("code", ["utf-16-be", "utf-16-le", "ascii"])
def test_a_prompt_in_the_user_comment(code):
    comment = (b"ASCII\0\0\0" if code == "ascii" else b"UNICODE\0") + PARAMETERS.encode(code)
    for image in (
        encode("JPEG", exif=exif_with(comment)),
        encode("WEBP", exif=exif_with(comment)),
        encode("AVIF", exif=exif_with(comment)),
        encode("PNG", exif=exif_with(comment)),
    ):
        assert told(image) == {("EXIF UserComment", "generated", "declared")}


def test_comfyui_in_webp_is_no_camera():
    image = encode("WEBP", exif=exif_with(Make="workflow:{}", Model="prompt:" + GRAPH))
    assert told(image) == {("EXIF Model", "generated", "declared")}


def test_a_jpeg_comment():
    assert told(encode("JPEG", comment=PARAMETERS)) == {("JPEG comment", "generated", "declared")}


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "WEBP", "PNG", "AVIF"])
def test_a_camera_is_only_what_the_file_claims(file_format):
    report = inspect(encode(file_format, exif=exif_with(Make="Canon", Model="Canon EOS R5", LensModel="RF50mm F1.2")))
    (finding,) = report.findings
    assert (finding.says, finding.strength) == ("captured", "hint")
    assert finding.statement == "Names a camera: Canon EOS R5 with the lens RF50mm F1.2."
    assert "hints that it was captured" in report.summary


def test_software_alone_says_nothing_and_a_generators_name_is_a_hint():
    assert told(encode("JPEG", exif=exif_with(Software="GIMP 2.10"))) == {("EXIF Software", "unknown", "hint")}
    assert told(encode("JPEG", exif=exif_with(Software="Adobe Firefly"))) == {("EXIF Software", "generated", "hint")}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (
            {"Software": "AI generated;txt2img;flux", "Make": "Black Forest Labs", "Model": "flux-dev"},
            {("EXIF Software", "generated", "declared"), ("EXIF Make", "generated", "hint")},
        ),
        ({"Make": "Ideogram AI"}, {("EXIF Make", "generated", "hint")}),
        ({"Make": "Apple", "Model": "iPhone 17"}, {("EXIF camera", "captured", "hint")}),
        ({"Make": "Planet Computers", "Model": "Gemini PDA"}, {("EXIF camera", "captured", "hint")}),
    ],
)
def test_a_generator_that_poses_as_a_camera_is_none(tags, expected):
    assert told(encode("JPEG", exif=exif_with(**tags))) == expected


def test_the_json_of_draw_things_in_xmp():
    comment = json.dumps({"c": "a guitar", "uc": "ocean", "sampler": "DDIM", "scale": 10, "steps": 10, "seed": 1})
    content = f"<exif:UserComment><rdf:Alt><rdf:li>{comment}</rdf:li></rdf:Alt></exif:UserComment>"
    attributes = 'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmp:CreatorTool="Draw Things"'
    assert told(encode("JPEG", xmp=xmp_with(attributes, content))) == {
        ("XMP UserComment", "generated", "declared"),
        ("XMP CreatorTool", "generated", "hint"),
    }


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        (f'Iptc4xmpExt:DigitalSourceType="{TERM}trainedAlgorithmicMedia"', ""),
        ("", f"<Iptc4xmpExt:DigitalSourceType>{TERM}trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>"),
        ("", f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{TERM}trainedAlgorithmicMedia"/>'),
    ],
)
def test_the_digital_source_type_in_xmp(file_format, attributes, content):
    packet = xmp_with(attributes, content)
    if file_format == "PNG":
        image = png_with(**{"XML:com.adobe.xmp": packet.decode()})
    elif file_format == "TIFF":
        image = encode("TIFF", tiffinfo={700: packet})
    else:
        image = encode(file_format, xmp=packet)
    assert told(image) == {("XMP DigitalSourceType", "generated", "declared")}


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ("trainedAlgorithmicMedia", "generated"),
        ("compositeWithTrainedAlgorithmicMedia", "ai_edited"),
        ("compositeSynthetic", "ai_edited"),
        ("digitalCapture", "captured"),
        ("computationalCapture", "captured"),
        ("digitalCreation", "unknown"),
        ("algorithmicMedia", "unknown"),
        ("neverHeardOf", "unknown"),
    ],
)
def test_the_terms_of_the_vocabulary(term, says):
    image = encode(xmp=xmp_with(f'Iptc4xmpExt:DigitalSourceType="{TERM}{term}"'))
    assert told(image) == {("XMP DigitalSourceType", says, "declared")}


def test_google_credits_in_xmp_and_iptc():
    made = encode(xmp=xmp_with('photoshop:Credit="Made with Google AI"'))
    assert told(made) == {("XMP Credit", "generated", "declared")}
    edited = encode(xmp=xmp_with("", "<photoshop:Credit>Edited with Google AI</photoshop:Credit>"))
    assert told(edited) == {("XMP Credit", "ai_edited", "declared")}
    credit = b"Made with Google AI"
    iim = b"\x1c\x02\x6e" + len(credit).to_bytes(2, "big") + credit
    resources = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + len(iim).to_bytes(4, "big") + iim
    segment = b"\xff\xed" + (len(resources) + 2).to_bytes(2, "big") + resources
    image = encode()
    assert told(image[:2] + segment + image[2:]) == {("IPTC Credit", "generated", "declared")}
    assert told(encode("TIFF", tiffinfo={33723: iim})) == {("IPTC Credit", "generated", "declared")}


def test_prompts_and_labels_in_xmp():
    content = (
        "<Iptc4xmpExt:AISystemUsed>Some Model</Iptc4xmpExt:AISystemUsed><dc:description><rdf:Alt>"
        '<rdf:li xml:lang="x-default">a cat Job ID: 0a1b2c3d-0a1b-4c3d-8e9f-0a1b2c3d4e5f</rdf:li></rdf:Alt>'
        '</dc:description><TC260:AIGC>{"Label":"1","ContentProducer":"x"}</TC260:AIGC>'
    )
    assert told(encode(xmp=xmp_with("", content))) == {
        ("XMP AISystemUsed", "generated", "declared"),
        ("XMP description", "generated", "declared"),
        ("XMP AIGC", "generated", "declared"),
    }


def test_heic():
    pillow_heif = pytest.importorskip(
        "pillow_heif", reason="pillow-heif is not installed, which writes the test's file"
    )
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (40, 30))).save(
        stream,
        exif=exif_with(Make="Apple", Model="iPhone 15"),
        xmp=xmp_with(f'Iptc4xmpExt:DigitalSourceType="{TERM}compositeWithTrainedAlgorithmicMedia"'),
    )
    report = inspect(stream.getvalue())
    assert (report.format, report.width, report.height, report.error) == ("HEIC", 40, 30, "")
    assert [finding.says for finding in report.findings] == ["ai_edited", "captured"]


def test_a_file_that_contradicts_itself_is_shown_to():
    report = inspect(
        encode(
            exif=exif_with(Make="Canon", Model="EOS R5"),
            xmp=xmp_with(f'Iptc4xmpExt:DigitalSourceType="{TERM}trainedAlgorithmicMedia"'),
        )
    )
    assert report.summary == (
        "The file says that it was generated (XMP DigitalSourceType). "
        "The file also hints that it was captured by a camera (EXIF camera)."
    )


def test_paths_bytes_and_names_give_the_same_report(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png_with(parameters=PARAMETERS))
    by_path, by_bytes = inspect(path), inspect(path.read_bytes(), name=str(path))
    assert by_path == by_bytes
    assert inspect(path, name="upload").file == "upload"
    assert json.loads(json.dumps(by_path.to_dict()))["findings"][0]["says"] == "generated"


def test_what_is_no_image_gives_an_error_and_no_exception(tmp_path):
    for source in (b"", b"hello", tmp_path / "missing.png", tmp_path, "nul\0l"):
        report = inspect(source)
        assert report.error
        assert report.findings == ()


def test_the_table_shows_every_finding_and_summary():
    reports = [inspect(png_with(parameters=PARAMETERS), "one.png"), inspect(encode(), "two.jpg"), inspect(b"", "three")]
    table = format_table(reports, width=100)
    for expected in (
        "one.png  PNG 40 x 30",
        "PNG text 'parameters'",
        "two.jpg",
        "means nothing",
        "three",
        "empty file",
    ):
        assert expected in table
    assert max(map(len, table.splitlines())) <= 100


def test_the_share_of_each_class_that_gives_itself_away(tmp_path):
    path = tmp_path / "generated.png"
    path.write_bytes(png_with(parameters=PARAMETERS))
    camera = encode(exif=exif_with(Make="Canon", Model="EOS R5"))
    shares = evidence_share([str(path), encode(), camera, camera], [1, 1, 0, 0])
    assert shares["FAKE"] == {"generated": 0.5, "ai_edited": 0.0, "captured": 0.0}
    assert shares["REAL"] == {"generated": 0.0, "ai_edited": 0.0, "captured": 1.0}
    with pytest.raises(ValueError, match="Received: 1 file, 2 labels"):
        evidence_share([path], [0, 1])


def test_it_loads_neither_tensorflow_nor_the_optional_libraries():
    code = (
        "import sys, deepfake_tf.provenance as p; p.inspect(b'');"
        "print([m for m in ('tensorflow', 'keras', 'c2pa', 'pillow_heif') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
