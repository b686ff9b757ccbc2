"""Bulk scoring past one machine: an Apache Beam pipeline from file names to rows of the score contract.

    match or read the names -> drop duplicates -> read -> RunInference, in batches -> rows -> shards

Every file becomes one row: `PREFIX-scores-*` holds those with a score, `PREFIX-failed-*` the others. Clusters run
a bundle of work again where a worker was lost, and Beam's sinks put the shards in place when all bundles are done,
each with the rows of one of its runs: https://beam.apache.org/documentation/runtime/model/. The workers find this
module by its name, so the package must be installed there.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

try:
    import apache_beam as beam
    from apache_beam.coders import BytesCoder
    from apache_beam.io import ReadFromText, WriteToText, fileio
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.io.parquetio import WriteToParquet
    from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    raise ImportError("bulk scoring needs Apache Beam: pip install 'deepfake-tf[beam]'") from error

from deepfake_tf.contract import MAX_BATCH_SIZE, MAX_FILE_BYTES, Prediction, unexpected
from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.finding import check_engine, engine_of, find_model
from deepfake_tf.output.tables import format_predictions
from deepfake_tf.reading.files import reason_of
from deepfake_tf.text import as_utf8, plural

FORMATS = ("jsonl", "parquet")
LOCAL_RUNNER = "DirectRunner"
MANIFEST_SUFFIX = ".txt"  # never an image, so a name that ends so is a list of names
LARGE_IMAGE_BYTES = 4 * 1024 * 1024  # encoded; counts as several in a batch, which could otherwise hold 3.2 GB
_NAMESPACE = "deepfake_tf"  # of Beam's metrics


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
    """What to score, and where to.

    Raises:
        ValueError: the format is none, or the runner loses rows. Echoes what was received.
    """

    inputs: Sequence[str]  # patterns (`**` crosses folders), or .txt files with a path a line
    output: str  # prefix of the shards; on any file system that Beam knows, such as gs://
    model: str | None = None  # as the workers see it; None: see `find_model`
    output_format: str = "jsonl"  # one of FORMATS
    shards: int = 0  # of the scores; 0: as many as the runner likes, the fastest
    runner: str = LOCAL_RUNNER  # Beam's name of it
    beam_options: Sequence[str] = ()  # such as ["--direct_num_workers=2"]

    def __post_init__(self):
        if self.output_format not in FORMATS:
            raise ValueError(f"--format must be one of {', '.join(FORMATS)}. Received: {self.output_format!r}")
        if self.runner.endswith("DaskRunner"):
            raise ValueError(
                "Beam's DaskRunner (seen in 2.77) drops what a bundle gives at its end, here its last batch of images, "
                f"and all outputs but one: name another --runner. Received: {self.runner}"
            )


@dataclasses.dataclass(frozen=True)
class ScoreSummary:
    """What Beam's metrics say of a finished run; a runner without metrics leaves zeros.

    Attributes:
        scored: images with a score.
        failed: files without one.
        seconds: from the submission to the end, workers' start and model loading included.
        batches: calls of the model.
        batch_seconds: mean and maximum of one call.
        models_loaded: one a worker process.
    """

    scored: int
    failed: int
    seconds: float
    batches: int
    batch_seconds: tuple[float, float]
    models_loaded: int

    def __str__(self) -> str:
        mean, worst = self.batch_seconds
        images = self.scored + self.failed
        return (
            f"{plural(images, 'image')} in {self.seconds:.1f} s, {images / self.seconds:.1f} a second: "
            f"{self.scored:,} scored, {self.failed:,} failed\n{plural(self.batches, 'batch')}, {mean * 1e3:.0f} ms "
            f"each on average, {worst * 1e3:.0f} ms at most; {plural(self.models_loaded, 'worker process')} loaded "
            "the model"
        )


def score(options: ScoreOptions) -> ScoreSummary:
    """Run the pipeline and wait for its end.

    Raises:
        ValueError: nothing matches, an input is a folder, shards of an earlier run are in the way, or an option is
            unknown.
        FileNotFoundError, ImportError: no model there, or nothing that runs it (where this machine does).
        OSError: the run did not finish: a worker was lost, and the runner gave up.
    """
    inputs = [_check_input(pattern) for pattern in options.inputs]
    _check_output(options.output)
    pipeline_options = _pipeline_options(options)
    if options.runner == LOCAL_RUNNER:
        check_engine(engine_of(find_model(options.model, "auto")))  # here rather than in a worker's traceback
    started = time.monotonic()
    pipeline = beam.Pipeline(options=pipeline_options)
    build(pipeline, inputs, options)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:  # each runner has its own
        raise OSError(
            f"{options.runner} did not finish: {_reason(error)}. No shards were put in place; run it again"
        ) from error
    return _summarise(result, time.monotonic() - started)


def build(pipeline: beam.Pipeline, inputs: Sequence[str], options: ScoreOptions) -> None:
    """Add every step to a pipeline."""
    names = _names(pipeline, inputs)
    rows = (
        names
        | "Read" >> beam.Map(read_image)
        | "Score" >> RunInference(KeyedModelHandler(DetectorHandler(options.model)))
        | "Sort" >> beam.ParDo(_Sort()).with_outputs("failed", main="scored")
    )
    _write(rows.scored, "Scores", f"{options.output}-scores", options.output_format, options.shards)
    # One shard: an empty one says that nothing failed, and nobody wants to gather errors from a thousand files.
    _write(rows.failed, "Failed", f"{options.output}-failed", options.output_format, shards=1)


class DetectorHandler(ModelHandler[bytes, Prediction, Detector]):
    """Beam's way to a `Detector`: one a worker process, shared by its threads, called with batches.

    Args:
        model: of `Detector`.
    """

    def __init__(self, model: str | None):
        super().__init__(
            # Full batches: Beam would try sizes out, and on a CPU more than 32 only takes memory.
            min_batch_size=MAX_BATCH_SIZE,
            max_batch_size=MAX_BATCH_SIZE,
            element_size_fn=_share_of_batch,
        )
        self._model = model

    def load_model(self) -> Detector:
        return Detector(self._model)

    def run_inference(
        self, batch: Sequence[bytes], model: Detector, inference_args: dict[str, Any] | None = None
    ) -> Iterable[Prediction]:
        """Encoded images -> a prediction each, in their order."""
        return model.predict(list(batch))

    def get_num_bytes(self, batch: Sequence[bytes]) -> int:
        return sum(map(len, batch))

    def get_metrics_namespace(self) -> str:
        return _NAMESPACE


def read_image(name: bytes) -> tuple[tuple[bytes, str], bytes]:
    """File name -> ((name, error), encoded image); where there is an error, the image is empty.

    The empty image goes through the model like the others: one way for every file, so that none is lost.
    """
    path = os.fsdecode(name)
    if (
        os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    ):  # a pipe would be waited on, a device read without end
        return (name, "not a regular file"), b""
    try:
        # A name such as photo.jpg.gz is what it says, not an archive to unpack.
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return (name, ""), file.read(MAX_FILE_BYTES + 1)
    except OSError as error:  # Beam's own for other file systems, BeamIOError, is one too
        return (name, reason_of(error)), b""
    except Exception as error:  # each file system has its own
        return (name, unexpected(error)), b""


class _Sort(beam.DoFn):
    """((name, error), prediction) -> its row, to the output for scores or to the one for failures."""

    def __init__(self):
        self._scored = beam.metrics.Metrics.counter(_NAMESPACE, "images_scored")
        self._failed = beam.metrics.Metrics.counter(_NAMESPACE, "images_failed")

    def process(self, element: tuple[tuple[bytes, str], Prediction]) -> Iterable[Any]:
        (name, error), prediction = element
        prediction = dataclasses.replace(prediction, file=os.fsdecode(name), error=error or prediction.error)
        (self._failed if prediction.error else self._scored).inc()
        yield beam.pvalue.TaggedOutput("failed", prediction) if prediction.error else prediction


def _names(pipeline: beam.Pipeline, inputs: Sequence[str]) -> beam.PCollection[bytes]:
    """The names, each once, as bytes: a file name need not be valid UTF-8."""
    parts = []
    for index, pattern in enumerate(inputs):
        if pattern.endswith(MANIFEST_SUFFIX):
            lines = pipeline | f"Manifest{index}" >> ReadFromText(pattern, coder=BytesCoder())
            parts.append(lines | f"Lines{index}" >> beam.Filter(bytes.strip).with_output_types(bytes))
        else:
            files = pipeline | f"Match{index}" >> fileio.MatchFiles(pattern)
            parts.append(files | f"Names{index}" >> beam.Map(_name).with_output_types(bytes))
    # The shuffle in Distinct also spreads the names over the workers: without it the one that matched reads all.
    return parts | beam.Flatten() | beam.Distinct()


def _write(rows: beam.PCollection, label: str, prefix: str, output_format: str, shards: int) -> None:
    suffix = f".{output_format}"
    if output_format == "jsonl":
        lines = rows | f"{label}ToLines" >> beam.Map(_line).with_output_types(bytes)
        lines | f"Write{label}" >> WriteToText(prefix, suffix, coder=BytesCoder(), num_shards=shards)
    else:
        dicts = rows | f"{label}ToDicts" >> beam.Map(_parquet_row)
        dicts | f"Write{label}" >> WriteToParquet(prefix, _parquet_schema(), file_name_suffix=suffix, num_shards=shards)


def _parquet_schema():
    import pyarrow

    types = {"str": pyarrow.string(), "float": pyarrow.float32(), "bool": pyarrow.bool_(), "int": pyarrow.int32()}
    return pyarrow.schema([(field.name, types[str(field.type)]) for field in dataclasses.fields(Prediction)])


def _parquet_row(prediction: Prediction) -> dict[str, Any]:
    return {**prediction.to_dict(), "file": as_utf8(prediction.file)}


def _line(prediction: Prediction) -> bytes:
    return format_predictions([prediction], "jsonl").removesuffix("\n").encode("utf-8")


def _share_of_batch(element: tuple[Any, bytes]) -> int:
    return max(1, len(element[1]) // LARGE_IMAGE_BYTES)


def _name(metadata: Any) -> bytes:
    return os.fsencode(metadata.path)


def _check_input(pattern: str) -> str:
    if os.path.isdir(pattern):
        example = os.path.join(pattern, "**.jpg")
        raise ValueError(f"--input is a pattern, such as '{example}'. Received a folder: {pattern}")
    if "/" not in pattern:
        pattern = f"./{pattern}"  # Beam finds nothing where a local pattern has no folder
    if not FileSystems.match([pattern], limits=[1])[0].metadata_list:
        raise ValueError(f"nothing matches {pattern}")
    return pattern


def _check_output(prefix: str) -> None:
    """Shards of another run, in another number, would stand beside the new ones and be read as theirs."""
    prefix = prefix if "/" in prefix else f"./{prefix}"
    for kind in ("scores", "failed"):
        if found := FileSystems.match([f"{prefix}-{kind}-*"], limits=[1])[0].metadata_list:
            raise ValueError(f"{found[0].path} is there already: remove the earlier shards, or name another --output")


def _pipeline_options(options: ScoreOptions) -> PipelineOptions:
    # Beam's DirectRunner first tries to download the Prism runner; FnApiRunner is what it falls back to.
    runner = "FnApiRunner" if options.runner == LOCAL_RUNNER else options.runner
    pipeline_options = PipelineOptions([f"--runner={runner}", *options.beam_options])
    if options.runner == LOCAL_RUNNER:  # a cluster's runner may have options that Beam learns from it alone
        known = set(pipeline_options.get_all_options())
        unknown = set(pipeline_options.get_all_options(retain_unknown_options=True)) - known
        if unknown:
            raise ValueError(f"neither deepfake-tf nor Beam knows --{', --'.join(sorted(unknown))}")
    return pipeline_options


def _reason(error: Exception) -> str:
    """The last line of what a runner says, but for the frames of Java's stack under it."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("at ", "..."))]
    return said[-1].rstrip(".") if said else type(error).__name__


def _summarise(result: Any, seconds: float) -> ScoreSummary:
    metrics = result.metrics().query()
    found = {
        item.key.metric.name: item.result
        for kind in ("counters", "distributions")
        for item in metrics[kind]
        if item.key.metric.namespace == _NAMESPACE
    }
    latency = found.get("inference_batch_latency_micro_secs")
    loads = found.get("load_model_latency_milli_secs")
    return ScoreSummary(
        scored=found.get("images_scored", 0),
        failed=found.get("images_failed", 0),
        seconds=seconds,
        batches=latency.count if latency else 0,
        batch_seconds=(latency.mean / 1e6, latency.max / 1e6) if latency else (0.0, 0.0),
        models_loaded=loads.count if loads else 0,
    )
