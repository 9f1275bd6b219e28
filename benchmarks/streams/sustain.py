"""Whether workers keep up with a fleet that sends once a second, by the clock, for minutes.

Usage: `python -m benchmarks.streams.sustain [gpus] [seconds] [workers] [families] [pace]`. Loader,
Apache Kafka, store and workers share this machine's cores; what is sent has been made before (140
bytes a GPU and second on disk). Prints lag, delay of the watermark, cores that each part uses and
memory a device every 15 s, and at the end whether the lag is flat. With a pace of 4 each second of
telemetry is sent in four: all that the fleet's size costs is there, on a quarter of the cores that
it would need; "cores" are then CPU seconds a second of telemetry, and watermarks fall behind by the
stretch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np

from benchmarks.streams.parts import Parts, cpu_seconds, metrics_of, parts, resident_bytes, summed

EVERY_SECONDS = 15.0
FRAMES = "ridgeline_stream_frames_total"


def lag_of(running: Parts) -> tuple[float, float, float]:
    """Frames behind, worst delay of a watermark in seconds, devices."""
    pages = [metrics_of(worker.port) for worker in running.workers]
    lag = sum(summed(page, "ridgeline_stream_lag_frames") for page in pages)
    devices = sum(summed(page, "ridgeline_stream_devices") for page in pages)
    delay = max(
        (
            value
            for page in pages
            for name, value in page.items()
            if name.startswith("ridgeline_stream_watermark_delay_seconds{")
        ),
        default=float("nan"),
    )
    return lag, delay, devices


def watch(
    running: Parts, load: subprocess.Popen[bytes], bare_bytes: float, pace: float
) -> tuple[list[float], list[list[float]]]:
    """Print a line now and then while the loader runs; the lags, and the cores of each part."""
    names = ("kafka", "store", "workers")
    groups = ((running.kafka,), (running.store,), tuple(w.process for w in running.workers))
    before, then = [cpu_seconds(*group) for group in groups], time.perf_counter()
    lags, every, began = [], [], then
    print("    s      lag frames   delay s   cores: " + "  ".join(names) + "   kB/device")
    while load.poll() is None:
        time.sleep(EVERY_SECONDS)
        now, spent = time.perf_counter(), [cpu_seconds(*group) for group in groups]
        cores = [(b - a) / (now - then) * pace for a, b in zip(before, spent, strict=True)]
        every.append(cores)
        before, then = spent, now
        lag, delay, devices = lag_of(running)
        lags.append(lag)
        memory = sum(resident_bytes(w.process) for w in running.workers) - bare_bytes
        print(
            f"{now - began:5.0f} {lag:15,.0f} {delay:9.1f}          "
            + "   ".join(f"{c:5.2f}" for c in cores)
            + f" {memory / max(devices, 1) / 1000:10.1f}",
            flush=True,
        )
    return lags, every


def main() -> None:
    """Measure and print."""
    defaults = ("400000", "600", "1", "gpu", "1")
    gpus, seconds, count, families, stretch = (*sys.argv[1:], *defaults[len(sys.argv) - 1 :])
    pace = float(stretch)
    with parts() as running:
        for _ in range(int(count)):
            running.start_worker(RIDGELINE_STREAMS_APP_ID="sustain")
        time.sleep(10)  # until partitions are assigned and the code is loaded
        bare = sum(resident_bytes(worker.process) for worker in running.workers)
        command = [sys.executable, "-m", "benchmarks.streams.load", running.servers]
        tape = running.folder / "tape"
        tape.mkdir()
        arguments = [gpus, seconds, f"--tape={tape}", f"--families={families}", f"--pace={pace}"]
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE) as load:
            while not sum(worker.metric(FRAMES) for worker in running.workers):
                time.sleep(0.5)
                if load.poll() is not None:
                    sys.exit("nothing was sent")
            lags, cores = watch(running, load, bare, pace)
            sent = json.loads((load.stdout.read() if load.stdout else b"") or b"{}")
    late = slice(len(lags) // 4, -1)  # in the last the loader ends
    half = np.array(lags[late])
    slope = np.polyfit(np.arange(len(half)) * EVERY_SECONDS, half, 1)[0] if len(half) > 2 else 0.0
    rate = sent["frames"] / float(seconds)
    print(
        f"loader: {rate:,.0f} frames/s, {sent['cpu_seconds'] / float(seconds):.2f} cores,"
        f" late by {sent['late_p99_seconds']:.1f} s at p99"
    )
    mean = np.array(cores[late]).mean(axis=0)
    print("mean of cores after the first quarter: " + "  ".join(f"{c:.2f}" for c in mean))
    flat = abs(slope) < rate / pace / 100
    print(f"lag grows by {slope:,.0f} frames/s: {'flat' if flat else 'it does not keep up'}")


if __name__ == "__main__":
    main()
