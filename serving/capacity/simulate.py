"""The capacity model of ../CAPACITY.md, and the burst that its autoscaling settings must hold.

    python simulate.py                # from measured.json and k8s/model-server.yaml: the tables, the burst, burst.png

Needs PyYAML, NumPy and Matplotlib. A pod is what `load_test.py` measured: one queue, and one call of the model at a
time with all that waits, up to 32 images. The autoscaler follows
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import heapq
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
MODEL_SERVER = HERE.parent / "k8s" / "model-server.yaml"
RATES = (10, 1_000, 100_000)  # requests a second, of one image each
PRICE_PER_VCPU_HOUR = 0.04  # dollars; take your own
LATENCY_GOAL_SECONDS = 0.5  # the 99th percentile
BURST_FACTOR = 2.0  # of the rate before it

MAX_BATCH, MAX_WAITING = 32, 16 * 32  # images; ../batching.config
SYNC_SECONDS = 15  # the autoscaler's period, and that of the metrics it reads; Kubernetes' default
METRIC_SECONDS = 30  # what it sees is the mean over so long; metrics-server's default, doubled
POD_START_SECONDS = 60  # scheduled, image on the node, model loaded and warmed up, ready; see CAPACITY.md
TOLERANCE = 0.1  # of the target, within which the autoscaler does nothing; Kubernetes' default


@dataclasses.dataclass(frozen=True)
class Pod:
    """What one pod does, as measured.

    Attributes:
        batch_seconds: number of images -> seconds of each call that was timed, ascending.
        rates: answered requests a second, a point each run of load_test.py.
        cores_used: at each of these rates, ascending.
        cores: that a pod asks for.
    """

    batch_seconds: dict[int, list[float]]
    rates: list[float]
    cores_used: list[float]
    cores: float

    @property
    def saturation(self) -> float:
        """Requests a second that full batches give."""
        return MAX_BATCH / float(np.median(self.batch_seconds[MAX_BATCH]))

    def draw_seconds(self, images: int, generator: random.Random) -> float:
        """Of one call: one of the measured times of the two sizes around it, in between."""
        sizes = sorted(self.batch_seconds)
        upper = next(size for size in sizes if size >= images)
        lower = max((size for size in sizes if size <= images), default=upper)
        share = 0.0 if upper == lower else (images - lower) / (upper - lower)
        rank = generator.random()
        pick = lambda size: self.batch_seconds[size][int(rank * len(self.batch_seconds[size]))]
        return (1 - share) * pick(lower) + share * pick(upper)

    def rate_at(self, utilization: float) -> float:
        """Requests a second at which the pod uses this share of the cores it asks for."""
        return float(np.interp(utilization * self.cores, [0.0, *self.cores_used], [0.0, *self.rates]))

    def utilization_at(self, rate: float) -> float:
        """The share of the cores it asks for that a pod uses at this many requests a second."""
        return float(np.interp(rate, [0.0, *self.rates], [0.0, *self.cores_used])) / self.cores


@dataclasses.dataclass(frozen=True)
class Autoscaler:
    """The HorizontalPodAutoscaler of k8s/model-server.yaml."""

    minimum: int
    maximum: int
    target: float  # share of the CPU request
    scale_up_percent: int  # of the pods, at most, in one period
    scale_up_period: int  # seconds
    scale_down_window: int  # seconds


def read_pod(measured: Path = HERE / "measured.json", manifest: Path = MODEL_SERVER) -> Pod:
    figures = json.loads(measured.read_text())
    deployment = _documents(manifest)["Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    points = sorted((row["answered_per_second"], row["cores_used"]) for row in figures["rates"])
    return Pod(
        {int(size): sorted(seconds) for size, seconds in figures["batches"].items()},
        [rate for rate, _ in points],
        np.maximum.accumulate([cores for _, cores in points]).tolist(),
        float(container["resources"]["requests"]["cpu"]),
    )


def read_autoscaler(manifest: Path = MODEL_SERVER) -> Autoscaler:
    spec = _documents(manifest)["HorizontalPodAutoscaler"]["spec"]
    [metric], [policy] = spec["metrics"], spec["behavior"]["scaleUp"]["policies"]
    return Autoscaler(
        spec["minReplicas"],
        spec["maxReplicas"],
        metric["resource"]["target"]["averageUtilization"] / 100,
        policy["value"],
        policy["periodSeconds"],
        spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"],
    )


def _documents(manifest: Path) -> dict[str, dict]:
    import yaml

    return {document["kind"]: document for document in yaml.safe_load_all(manifest.read_text())}


def plan(pod: Pod, autoscaler: Autoscaler, rate: float, price: float) -> dict[str, float]:
    """Pods, cores and dollars for a steady rate, with the autoscaler's headroom."""
    pods = max(autoscaler.minimum, math.ceil(rate / pod.rate_at(autoscaler.target)))
    cores = pods * pod.cores
    images_a_day = rate * 86_400
    return {
        "rate": rate,
        "pods": pods,
        "cores": cores,
        "dollars_a_day": cores * 24 * price,
        "dollars_a_million": cores * 24 * price / (images_a_day / 1e6),
    }


@dataclasses.dataclass
class Outcome:
    """What a simulation saw: an entry a request that was answered, and an entry a second of pods."""

    arrivals: list[float] = dataclasses.field(default_factory=list)
    latencies: list[float] = dataclasses.field(default_factory=list)
    refused: int = 0
    pods: list[int] = dataclasses.field(default_factory=list)

    def p99(self, start: float = 0.0, end: float = math.inf) -> float:
        chosen = [latency for moment, latency in zip(self.arrivals, self.latencies) if start <= moment < end]
        return float(np.percentile(chosen, 99)) if chosen else math.nan


def simulate(
    pod: Pod,
    rate: Callable[[float], float],
    seconds: int,
    pods: int,
    autoscaler: Autoscaler | None = None,
    seed: int = 0,
) -> Outcome:
    """Requests at random moments, each to a random pod; without an autoscaler the pods stay as many.

    Args:
        pod: Pod.
        rate: seconds since the start -> requests a second.
        seconds: int. How long requests come.
        pods: int. At the start.
        autoscaler: Autoscaler or None.
        seed: int. Of the moments, the choice of pods and the times of the calls.
    """
    generator = random.Random(seed)
    outcome = Outcome()
    queues: list[collections.deque[float]] = [collections.deque() for _ in range(pods)]
    busy_until = [0.0] * pods
    serving, starting = list(range(pods)), []  # indices of ready pods; moments at which others will be
    answered = collections.deque([0], maxlen=METRIC_SECONDS + 1)  # requests so far, a value a second
    desired: collections.deque[int] = collections.deque(maxlen=autoscaler.scale_down_window if autoscaler else 1)
    calls: list[tuple[float, int]] = []  # a heap of those that run: end, pod

    def call(index: int, now: float) -> None:
        batch = [queues[index].popleft() for _ in range(min(MAX_BATCH, len(queues[index])))]
        took = pod.draw_seconds(len(batch), generator)
        busy_until[index] = now + took
        heapq.heappush(calls, (now + took, index))
        outcome.arrivals += batch
        outcome.latencies += [now + took - moment for moment in batch]

    for second in range(1, seconds + 1):
        for moment in _arrivals(rate, second - 1, generator):
            while calls and calls[0][0] <= moment:
                ended, index = heapq.heappop(calls)
                if queues[index]:
                    call(index, ended)
            index = generator.choice(serving)
            if len(queues[index]) >= MAX_WAITING:
                outcome.refused += 1
                continue
            queues[index].append(moment)
            if busy_until[index] <= moment:
                call(index, moment)
        answered.append(len(outcome.arrivals))
        outcome.pods.append(len(serving))
        while starting and starting[0] <= second:
            starting.pop(0)
            serving.append(len(queues))
            queues.append(collections.deque())
            busy_until.append(0.0)
        if autoscaler:
            each = (answered[-1] - answered[0]) / (len(answered) - 1) / len(serving)
            desired.append(_desired(autoscaler, pod.utilization_at(each), len(serving)))
            if second % SYNC_SECONDS == 0:
                there = len(serving) + len(starting)
                limit = there + math.ceil(there * autoscaler.scale_up_percent / 100)
                starting += [second + POD_START_SECONDS] * (min(desired[-1], limit) - there)
                for _ in range(there - max(desired)):  # those that go still answer what they have
                    (starting or serving).pop()
    while calls:
        ended, index = heapq.heappop(calls)
        if queues[index]:
            call(index, ended)
    return outcome


def _arrivals(rate: Callable[[float], float], second: int, generator: random.Random) -> Iterator[float]:
    moment = second + generator.expovariate(rate(second))
    while moment < second + 1:
        yield moment
        moment += generator.expovariate(rate(second))


def _desired(autoscaler: Autoscaler, utilization: float, ready: int) -> int:
    """Pods that would bring the mean utilization of the ready ones to the target."""
    ratio = utilization / autoscaler.target
    desired = ready if abs(ratio - 1) <= TOLERANCE else math.ceil(ready * ratio)
    return min(autoscaler.maximum, max(autoscaler.minimum, desired))


def burst(pod: Pod, autoscaler: Autoscaler, pods: int = 4, seed: int = 0) -> tuple[Callable[[float], float], Outcome]:
    """Two quiet minutes at the autoscaler's target, four at BURST_FACTOR times that, and four quiet ones."""
    quiet = pods * pod.rate_at(autoscaler.target)
    rate = lambda moment: quiet * (BURST_FACTOR if 120 <= moment < 360 else 1.0)
    return rate, simulate(pod, rate, 600, pods, autoscaler, seed)


def compare(pod: Pod, measured: Path) -> list[str]:
    """A row of CAPACITY.md's table for each rate that was measured, with what the simulation of one pod says of it."""
    lines = []
    for row in json.loads(measured.read_text())["rates"]:
        offered = row["offered_per_second"]
        figures = [
            f"{offered:g}",
            f"{row['answered_per_second']:.0f}",
            f"{row['p50_seconds'] * 1e3:.0f}",
            f"{row['p99_seconds'] * 1e3:.0f}",
            f"{row['images_per_call']:.1f}",
            f"{row['cores_used']:.2f}",
            f"{simulate(pod, lambda moment, offered=offered: offered, 60, pods=1).p99() * 1e3:.0f}",
        ]
        lines.append(f"| {' | '.join(figures)} |")
    return lines


def draw(rate: Callable[[float], float], outcome: Outcome, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    seconds = range(len(outcome.pods))
    windows = range(0, len(outcome.pods), 5)
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(7, 5), layout="constrained")
    axes[0].plot(seconds, [rate(second) for second in seconds], color="#4269d0")
    axes[0].set_ylabel("requests/s")
    axes[1].step(seconds, outcome.pods, color="#3ca951")
    axes[1].set_ylabel("pods ready")
    axes[1].yaxis.get_major_locator().set_params(integer=True)
    axes[2].plot(windows, [outcome.p99(start, start + 5) * 1e3 for start in windows], color="#4269d0")
    axes[2].axhline(LATENCY_GOAL_SECONDS * 1e3, color="#ff725c", linestyle="--", label="goal")
    axes[2].set_ylabel("p99 of 5 s, ms")
    axes[2].set_xlabel("seconds")
    axes[2].legend(loc="upper right", frameon=False)
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=100)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measured", type=Path, default=HERE / "measured.json", help="of load_test.py")
    parser.add_argument("--price", type=float, default=PRICE_PER_VCPU_HOUR, help="dollars for a vCPU and an hour")
    parser.add_argument("--plot", type=Path, default=HERE / "burst.png")
    options = parser.parse_args(arguments)
    pod, autoscaler = read_pod(options.measured), read_autoscaler()
    at_target = f"{pod.rate_at(autoscaler.target):.0f} at the target of {autoscaler.target:.0%} of {pod.cores:g} cores"
    print(f"a pod: {pod.saturation:.0f} requests/s at most, {at_target}")
    for each in RATES:
        row = plan(pod, autoscaler, each, options.price)
        print(
            f"{each:>7,} requests/s: {row['pods']:,.0f} pods, {row['cores']:,.0f} cores, "
            f"${row['dollars_a_day']:,.2f} a day, ${row['dollars_a_million']:.2f} a million images"
        )
    rate, outcome = burst(pod, autoscaler)
    draw(rate, outcome, options.plot)
    worst = max(outcome.p99(start, start + 5) for start in range(0, 600, 5))
    latency = f"p99 {outcome.p99():.3f} s, at worst {worst:.3f} s over 5 s"
    print(f"a burst of {BURST_FACTOR:g} times the rate: {latency}; {outcome.refused} refused; ", end="")
    print(f"{max(outcome.pods)} pods at most; {options.plot}")
    print(*compare(pod, options.measured), sep="\n")
    return int(worst > LATENCY_GOAL_SECONDS or outcome.refused > 0)


if __name__ == "__main__":
    raise SystemExit(main())
