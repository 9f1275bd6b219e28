"""Frames a CPU-second from Kafka to windows in the store, next to a loop that only counts bytes.

Usage: `python -m benchmarks.streams.throughput [gpus] [seconds] [repeats]`. One set of topics in one
Apache Kafka; the raw loop (aiokafka `getmany`, nothing else) and the real worker each read all of
it, in turns. CPU time is the worker's own, and once more with the store's.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from statistics import median

from aiokafka import AIOKafkaConsumer

from benchmarks.streams.fleet import PER_NODE, SCHEMAS, START_MS
from benchmarks.streams.parts import Parts, cpu_seconds, parts

FETCH_BYTES = 4 * 1024 * 1024


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


def worker_run(running: Parts, frames: int, number: int) -> dict[str, float]:
    """CPU and wall seconds of the worker and the store, from the first frame to the last window."""
    store_before = cpu_seconds(running.store)
    worker = running.start_worker(
        RIDGELINE_STREAMS_APP_ID=f"run{number}", RIDGELINE_STORE_DATABASE=f"run{number}"
    )
    name = "ridgeline_stream_frames_total"
    while worker.metric(name) == 0:
        time.sleep(0.02)
    before, start, seen = cpu_seconds(worker.process), time.perf_counter(), worker.metric(name)
    while worker.metric(name) < frames:
        time.sleep(0.2)
    windows = -1.0
    while windows != (windows := worker.metric("ridgeline_stream_windows_total")):
        time.sleep(3.0)  # until nothing more is written
    spent = cpu_seconds(worker.process) - before
    wall = time.perf_counter() - start
    running.stop_workers()
    return {
        "cpu": spent,
        "wall": wall,
        "frames": frames - seen,
        "store": cpu_seconds(running.store) - store_before,
        "windows": windows,
    }


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--raw"]:
        asyncio.run(raw(sys.argv[2], sys.argv[3].split(","), int(sys.argv[4])))
        return
    defaults = ("10000", "120", "3")
    gpus, seconds, repeats = (int(a) for a in (*sys.argv[1:], *defaults[len(sys.argv) - 1 :]))
    topics = [s.topic for s in SCHEMAS]
    with parts() as running:
        command = [sys.executable, "-m", "benchmarks.streams.load", running.servers]
        load = [*command, str(gpus), str(seconds), f"--start-ms={START_MS}"]
        sent = json.loads(subprocess.run(load, capture_output=True, check=True).stdout)
        frames = int(sent["frames"])
        nodes = gpus // PER_NODE["gpu"]
        samples = sum(len(s.columns) * PER_NODE[s.family] for s in SCHEMAS) * nodes * seconds
        print(f"{frames:,} frames, {sent['bytes'] / 1e6:,.0f} MB, {samples:,} samples")
        ratios = []
        for number in range(repeats):
            bare = raw_in_its_own_process(running.servers, topics, frames)
            ours = worker_run(running, frames, number)
            per_frame = samples / frames
            raw_rate, our_rate = frames / bare["cpu"], ours["frames"] / ours["cpu"]
            all_rate = frames / (ours["cpu"] + ours["store"])
            ratios.append((our_rate / raw_rate, our_rate * per_frame, all_rate * per_frame))
            print(
                f"raw {raw_rate:9,.0f} frames/CPU-s | worker {our_rate:9,.0f} frames/CPU-s"
                f" ({our_rate / raw_rate:.0%} of raw), {our_rate * per_frame / 1e6:.1f} M samples"
                f"/CPU-s, with the store {all_rate * per_frame / 1e6:.1f} M"
                f" | wall raw {bare['wall']:.1f} s, worker {ours['wall']:.1f} s"
            )
        share, own, whole = (median(column) for column in zip(*ratios, strict=True))
        print(
            f"median: {share:.0%} of raw, {own / 1e6:.1f} M samples/CPU-s,"
            f" {whole / 1e6:.1f} M with the store"
        )


if __name__ == "__main__":
    main()
