"""Frames a CPU-second from Kafka to windows and detections in the store, next to two peers.

Usage: `python -m benchmarks.streams.throughput [gpus] [seconds] [repeats] [workers] [frames]`. One
set of topics in one Apache Kafka; a raw loop (aiokafka `getmany`, only counting bytes) and the
workers each read all of it, in turns; then Debian's Prometheus scrapes the same values every
second. CPU time is the workers' own, and once more with the store's. Record batches have half a
megabyte, or so many frames: 1 is what agents send, each of its own node.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from aiokafka import AIOKafkaConsumer

from benchmarks.streams.fleet import PER_NODE, SCHEMAS
from benchmarks.streams.parts import Parts, cpu_seconds, parts
from benchmarks.streams.peer import installed, samples_per_cpu_second

FETCH_BYTES = 4 * 1024 * 1024
FRAMES = "ridgeline_stream_frames_total"


async def raw(servers: str, topics: list[str], frames: int) -> None:
    """Read every frame and count its bytes."""
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    count = size = 0
    async with consumer:
        spent, start = time.process_time(), time.perf_counter()
        while count < frames:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                count += len(records)
                size += sum(len(record.value) for record in records)
        spent = time.process_time() - spent
    print(json.dumps({"cpu": spent, "wall": time.perf_counter() - start, "bytes": size}))


def raw_in_its_own_process(servers: str, topics: list[str], frames: int) -> dict[str, float]:
    """The raw loop's CPU and wall seconds."""
    command = [sys.executable, "-m", "benchmarks.streams.throughput", "--raw", servers]
    done = subprocess.run(
        [*command, ",".join(topics), str(frames)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def worker_run(running: Parts, frames: int, number: int, count: int) -> dict[str, float]:
    """CPU and wall seconds of workers and store, once warm, up to the last window.

    The first tenth is left out: it pays for loading the compiled code.
    """
    for _ in range(count):
        running.start_worker(
            RIDGELINE_STREAMS_APP_ID=f"run{number}", RIDGELINE_STORE_DATABASE=f"run{number}"
        )
    workers = [worker.process for worker in running.workers]

    def total(name: str) -> float:
        return sum(worker.metric(name) for worker in running.workers)

    while (seen := total(FRAMES)) < frames / 10:
        time.sleep(0.02)
    if seen > frames / 2:
        sys.exit(f"{seen:,.0f} of {frames:,} frames were read before all workers had started")
    before, start = cpu_seconds(*workers), time.perf_counter()
    store_before = cpu_seconds(running.store)
    while total(FRAMES) < frames:
        time.sleep(0.5)
    wall, windows = time.perf_counter() - start, -1.0
    while windows != (windows := total("ridgeline_stream_windows_total")):
        time.sleep(3.0)  # until nothing more is written
    spent, stored = cpu_seconds(*workers) - before, cpu_seconds(running.store) - store_before
    running.stop_workers()
    return {"cpu": spent, "wall": wall, "frames": frames - seen, "store": stored}


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--raw"]:
        asyncio.run(raw(sys.argv[2], sys.argv[3].split(","), int(sys.argv[4])))
        return
    defaults = ("10000", "240", "3", "1", "0")
    gpus, seconds, repeats, count, together = (
        int(a) for a in (*sys.argv[1:], *defaults[len(sys.argv) - 1 :])
    )
    topics = [s.topic for s in SCHEMAS]
    with parts() as running:
        command = [sys.executable, "-m", "benchmarks.streams.load", running.servers]
        start = int(time.time()) - seconds - 60  # young enough for the store to keep it
        load = [*command, str(gpus), str(seconds), f"--start-ms={start * 1000}"]
        load.append(f"--batch-frames={together}")
        sent = json.loads(subprocess.run(load, capture_output=True, check=True).stdout)
        frames, nodes = int(sent["frames"]), gpus // PER_NODE["gpu"]
        samples = sum(len(s.columns) * PER_NODE[s.family] for s in SCHEMAS) * nodes * seconds
        print(f"{frames:,} frames, {sent['bytes'] / 1e6:,.0f} MB, {samples:,} samples")
        found = []
        for number in range(repeats):
            bare = raw_in_its_own_process(running.servers, topics, frames)
            ours = worker_run(running, frames, number, count)
            raw_rate, our_rate = frames / bare["cpu"], ours["frames"] / ours["cpu"]
            all_rate = ours["frames"] / (ours["cpu"] + ours["store"])
            found.append((our_rate / raw_rate, our_rate, all_rate))
            print(
                f"raw {raw_rate:,.0f} frames/CPU-s in {bare['wall']:.1f} s | {count} workers"
                f" {our_rate:,.0f} in {ours['wall']:.1f} s, {our_rate / raw_rate:.0%} of raw"
                f" | with the store {all_rate:,.0f}"
            )
        share, own, whole = (median(column) for column in zip(*found, strict=True))
    each = samples / frames
    print(f"median: {share:.0%} of the raw loop's frames a CPU-second")
    print(f"samples/CPU-s: {own * each / 1e6:.2f} M, with the store {whole * each / 1e6:.2f} M")
    if installed():
        with tempfile.TemporaryDirectory() as folder:
            theirs = samples_per_cpu_second(Path(folder))
        print(
            f"Prometheus: {theirs / 1e6:.3f} M samples/CPU-s; ours {own * each / theirs:.1f} times"
            f" that, with the store {whole * each / theirs:.1f} times"
        )


if __name__ == "__main__":
    main()
