"""What metadata fields mean: which generator wrote them, which camera they name, what source type they declare.

The generators' marks were taken from what the programs themselves write:
    Stable Diffusion WebUI, Forge, SD.Next: "parameters" in PNG, UserComment elsewhere: "... Steps: 20, Sampler: ..."
    ComfyUI: "prompt" and "workflow" as JSON graphs in PNG; in WebP as the EXIF tags Make and Model
    InvokeAI: "invokeai_metadata", "invokeai_graph", "invokeai_workflow"; before 3.0 "sd-metadata" and "Dream"
    NovelAI: Software "NovelAI", Source, and Comment as JSON; Fooocus: "fooocus_scheme"; SwarmUI: "sui_image_params"
    Midjourney: Description "... Job ID: <UUID>"; Google: Credit "Made with Google AI" or "Edited with Google AI"
    Grok: ImageDescription "Signature: <base64>"; services in China: the AIGC label of GB 45438-2025
    FLUX and its offspring: Software "AI generated;txt2img;flux", Make "Black Forest Labs"; Ideogram: Make "Ideogram AI"
    Draw Things: CreatorTool, and UserComment in XMP as JSON; AI Horde's pages: Software, and UserComment as the WebUI's
OpenAI, Adobe Firefly and Microsoft write Content Credentials: see `content_credentials`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from deepfake_tf.provenance.digital_source_type import origin_of
from deepfake_tf.provenance.fields import Field
from deepfake_tf.provenance.findings import AI_EDITED, CAPTURED, DECLARED, GENERATED, HINT, UNKNOWN, Finding, clean

_SEARCHED_CHARACTERS = 1 << 18  # of one value: the marks stand near its start or its end


@dataclasses.dataclass(frozen=True)
class _Mark:
    """How one generator's writing is known: the keys it stands under, in lower case, and what all occurs in it."""

    generator: str
    keys: frozenset[str]
    patterns: tuple[re.Pattern[str], ...]
    strength: str
    says: str


def _mark(generator: str, keys: str, *patterns: str, strength: str = DECLARED, says: str = GENERATED) -> _Mark:
    # No pattern repeats a wildcard: each is searched in linear time, whatever a file holds.
    compiled = tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
    return _Mark(generator, frozenset(keys.split()), compiled, strength, says)


_COMMENTS = "parameters usercomment comment imagedescription description generation_data makernote"
_MARKS = (
    _mark("InvokeAI", "invokeai_metadata invokeai_graph invokeai_workflow sd-metadata dream", r"\S"),
    _mark("Fooocus", "fooocus_scheme", r"\S"),
    _mark("Fooocus", _COMMENTS, r"\"metadata_scheme\" *: *\"(fooocus|a1111)\"|\bVersion: Fooocus"),
    _mark("SwarmUI", _COMMENTS, r"\"sui_image_params\""),
    _mark("ComfyUI", "prompt workflow make model " + _COMMENTS, r"\"class_type\" *:|\"last_node_id\" *:"),
    _mark("NovelAI", "software source", r"^NovelAI"),
    _mark("FLUX or a program made from it", "software", r"^AI[- ]generated\b"),
    _mark("Draw Things", _COMMENTS, r"\"c\" *:", r"\"uc\" *:", r"\"(sampler|scale|steps)\" *:"),
    _mark("NovelAI", "comment usercomment", r"\"n_samples\" *:", r"\"uc\" *:"),
    _mark("Easy Diffusion", "use_stable_diffusion_model", r"\S"),
    _mark("Easy Diffusion", _COMMENTS, r"\"use_stable_diffusion_model\" *:"),
    # After its offspring, which write the same line among their own.
    _mark("Stable Diffusion WebUI", _COMMENTS, r"\bSteps: \d{1,5}, ", r"\b(Sampler|Seed|CFG scale): "),
    _mark(
        "a diffusion program", _COMMENTS, r"\"(uc|negative_?prompt)\" *:", r"\"(steps|num_inference_steps|sampler)\" *:"
    ),
    _mark("Midjourney", "description imagedescription caption", r"\bJob ID: [0-9a-f]{8}-[0-9a-f]{4}-"),
    _mark("Grok", "imagedescription", r"^Signature: [A-Za-z0-9+/=]{40}", strength=HINT),
    _mark("Google AI", "credit", r"\bMade with Google AI\b"),
    _mark("Google AI", "credit", r"\bEdited with Google AI\b", says=AI_EDITED),
    _mark("Meta AI", "credit", r"\bImagined with AI\b"),
    _mark("Apple Image Playground", "credit", r"\bImage Playground\b"),
    _mark("a service under GB 45438-2025", "aigc " + _COMMENTS, r"\"Label\" *: *\"?1\b", r"\"ContentProducer\""),
    # 2: possibly generated; 3: suspected by a platform that found no label.
    _mark(
        "a service under GB 45438-2025",
        "aigc " + _COMMENTS,
        r"\"Label\" *: *\"?[23]\b",
        r"\"ContentProducer\"",
        strength=HINT,
    ),
)

# Generators that fill in Make do so instead of a camera: taken at its word, the file would claim a photograph.
_PROGRAM_KEYS = frozenset(
    {"software", "creatortool", "softwareagent", "originatingprogram", "source", "generator", "make"}
)
_GENERATOR_NAMES = re.compile(
    r"\b(Midjourney|DALL[-·. ]?E\b|OpenAI|ChatGPT|gpt-image|GPT-4o|Sora\b|Adobe Firefly|Stable Diffusion|SDXL"
    r"|Stability AI|ComfyUI|InvokeAI|NovelAI|Automatic1111|Fooocus|SwarmUI|Draw Things|Easy Diffusion"
    r"|Bing Image Creator|Image Creator from (?:Microsoft )?Designer|Google AI|Gemini|Imagen [2-9]|Nano Banana"
    r"|Ideogram|Leonardo\.?Ai\b|AI Horde|DreamStudio|Civitai|Tensor\.Art|SeaArt|HiDream|Bria AI|Runway ?ML\b"
    r"|Black Forest Labs|FLUX\.[12]|Grok|NightCafe|Craiyon|Image Playground|Recraft|Seedream|Jimeng|Doubao|Meta AI"
    r"|Playground AI|Krea\b|Freepik AI|Mochi Diffusion|DiffusionBee|Hunyuan|Qwen-Image)",
    re.IGNORECASE,
)
_AI_KEYS = {
    "AISystemUsed": "the AI system used",
    "AISystemVersionUsed": "the version of the AI system used",
    "AIPromptInformation": "the prompt given to an AI system",
}


def findings_of(fields: Sequence[Field]) -> list[Finding]:
    """What the fields say about the image's origin, in the order of the fields, each statement once.

    Args:
        fields: the metadata fields of one file.

    Returns:
        Declared source types, generators' own metadata, programs named, and one finding for the camera.
    """
    findings: dict[tuple[str, str], Finding] = {}
    for field in fields:
        finding = _finding_of(field)
        if finding:
            # A Photoshop history has hundreds of entries by one program: each source says each thing once.
            findings.setdefault((finding.source, finding.statement), finding)
    camera = _camera_of(fields)
    return [*findings.values(), *([camera] if camera else [])]


def _finding_of(field: Field) -> Finding | None:
    raw = clean(field.value)
    if field.key == "DigitalSourceType":
        says, words = origin_of(field.value)
        statement = f"Declares that the image was {words}." if words else "Declares a source type unknown here."
        return Finding(field.source, statement, DECLARED, says, raw)
    if field.key in _AI_KEYS:
        return Finding(field.source, f"Names {_AI_KEYS[field.key]}.", DECLARED, GENERATED, raw)
    mark = _mark_of(field)
    if mark:
        verb = "edits" if mark.says == AI_EDITED else "generates"
        statement = f"Holds what {mark.generator} writes into images that it {verb}."
        return Finding(field.source, statement, mark.strength, mark.says, raw)
    if field.key.lower() in _PROGRAM_KEYS:
        generator = _GENERATOR_NAMES.search(field.value[:_SEARCHED_CHARACTERS])
        if generator:
            return Finding(field.source, f"Names {generator[0]}, which generates images.", HINT, GENERATED, raw)
        if field.key in ("Software", "CreatorTool"):
            return Finding(field.source, f"Names the program {clean(field.value, 60)}.", HINT, UNKNOWN, raw)
    return None


def _mark_of(field: Field) -> _Mark | None:
    # A JPEG comment has no key, and holds what the others hold under theirs.
    key = field.key.lower() or "comment"
    value = field.value
    if len(value) > _SEARCHED_CHARACTERS:
        value = value[: _SEARCHED_CHARACTERS // 2] + "\n" + value[-_SEARCHED_CHARACTERS // 2 :]
    for mark in _MARKS:
        if key in mark.keys and all(pattern.search(value) for pattern in mark.patterns):
            return mark
    return None


def _camera_of(fields: Sequence[Field]) -> Finding | None:
    """The camera that the file names. Any program can write this, and editors of generated images keep it."""
    camera: dict[str, str] = {}
    for field in fields:
        if field.place == "EXIF" and field.key in ("Make", "Model", "LensModel", "DateTimeOriginal"):
            camera.setdefault(field.key, clean(field.value, 60))
    make, model = camera.get("Make", ""), camera.get("Model", "")
    if not model or model.startswith(("prompt:", "workflow:")) or make.startswith(("prompt:", "workflow:")):
        return None
    if _GENERATOR_NAMES.search(make):
        return None
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    lens = f" with the lens {camera['LensModel']}" if "LensModel" in camera else ""
    date = f", on {camera['DateTimeOriginal']}" if "DateTimeOriginal" in camera else ""
    raw = "; ".join(f"{key}: {value}" for key, value in camera.items())
    return Finding("EXIF camera", f"Names a camera: {name}{lens}{date}.", HINT, CAPTURED, clean(raw))
