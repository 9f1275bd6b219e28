"""The supervisor with small real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ridgeline.errors import Misconfigured
from ridgeline.local import parts
from ridgeline.local.broker import free_port
from ridgeline.local.parts import Part
from ridgeline.local.process import BoundedLog, Process
from ridgeline.local.supervisor import PartFailed, Supervisor
from ridgeline.settings import LocalSettings

FOREVER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER


class Notes:
    """A report that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def starting(self, part: str) -> None:
        """Remember."""
        self.lines.append(f"starting {part}")

    def ready(self, part: str, seconds: float) -> None:
        """Remember."""
        assert seconds >= 0
        self.lines.append(f"ready {part}")

    def note(self, text: str) -> None:
        """Remember."""
        self.lines.append(text)


def part(name: str, code: str, ready: Callable[[], bool] = lambda: True) -> Part:
    """A part that runs Python code."""
    return Part(name=name, command=lambda: [sys.executable, "-c", code], ready=ready)


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a condition; fails when it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_starts_in_order_and_stops_all(tmp_path: Path) -> None:
    """Each part is ready before the next starts; after stop no process is left."""
    notes = Notes()
    supervisor = Supervisor(tmp_path, notes)
    await supervisor.start(part("a", FOREVER))
    await supervisor.start(part("b", FOREVER))
    pids = [supervisor.process(n).pid for n in "ab"]
    await supervisor.stop([("b",), ("a",)])

    assert notes.lines == ["starting a", "ready a", "starting b", "ready b"]
    assert not any(psutil.pid_exists(p) for p in pids)


async def test_dead_part_comes_back(tmp_path: Path) -> None:
    """A killed part is started again, said plainly, and its hook runs."""
    notes, hooked = Notes(), asyncio.Event()

    async def hook() -> None:
        hooked.set()

    supervisor = Supervisor(tmp_path, notes)
    base = part("a", FOREVER)
    await supervisor.start(
        Part(name="a", command=base.command, ready=base.ready, after_restart=hook)
    )
    first = supervisor.process("a").pid
    watch = asyncio.create_task(supervisor.watch(0.05))
    os.kill(first, signal.SIGKILL)
    await asyncio.wait_for(hooked.wait(), 120)
    watch.cancel()

    assert supervisor.process("a").pid != first
    assert any("a ended with -9; starting it again in 1 s" in line for line in notes.lines)
    await supervisor.stop([])


async def test_misconfigured_part_stays_off(tmp_path: Path) -> None:
    """Exit code 2 is a person's work: reported once, not tried for ever."""
    notes, supervisor = Notes(), Supervisor(tmp_path, Notes())
    supervisor = Supervisor(tmp_path, notes)
    flag = tmp_path / "die"
    code = f"import os, sys, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(.02)\n"
    code += "print('ridgeline: RIDGELINE_X: wrong', flush=True); sys.exit(2)"
    await supervisor.start(part("a", code))
    watch = asyncio.create_task(supervisor.watch(0.02))
    flag.touch()
    await until(lambda: any("a is off" in line for line in notes.lines))
    watch.cancel()

    assert sum("starting" in line for line in notes.lines) == 1
    assert "RIDGELINE_X: wrong" in notes.lines[-1]


async def test_part_that_ends_at_once(tmp_path: Path) -> None:
    """Start fails with the end of the part's log; exit 2 as a wrong setting."""
    supervisor = Supervisor(tmp_path, Notes())
    with pytest.raises(PartFailed, match="no such thing"):
        await supervisor.start(part("a", "raise SystemExit('no such thing')", lambda: False))
    code = "import sys; print('ridgeline: RIDGELINE_X: bad'); sys.exit(2)"
    with pytest.raises(Misconfigured, match="RIDGELINE_X: bad"):
        await supervisor.start(part("b", code, lambda: False))


def test_stubborn_child_is_killed(tmp_path: Path) -> None:
    """A child that ignores SIGTERM gets SIGKILL after the grace time."""
    lines: list[str] = []
    child = Process("s", [sys.executable, "-c", STUBBORN], tmp_path / "s.log", on_line=lines.append)
    while "up" not in lines:
        time.sleep(0.01)

    assert child.stop(grace_seconds=0.2) == -signal.SIGKILL


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """Kill -9 of the parent leaves no child behind."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from ridgeline.local.process import Process\n"
        f"log = Path({str(tmp_path / 'c')!r})\n"
        f"child = Process('c', [sys.executable, '-c', {STUBBORN!r}], log)\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([child], timeout=120)

    assert (len(gone), len(alive)) == (1, 0)


def test_log_is_bounded(tmp_path: Path) -> None:
    """A log never takes more than two files of its limit, and the newest lines are kept."""
    log = BoundedLog(tmp_path / "x.log", limit_bytes=100)
    for number in range(100):
        log.write(b"line %03d\n" % number)
    log.close()
    files = sorted(tmp_path.iterdir())

    assert [f.name for f in files] == ["x.log", "x.log.1"]
    assert all(f.stat().st_size <= 100 for f in files)
    assert files[0].read_bytes().endswith(b"line 099\n")


def local_settings(home: Path) -> LocalSettings:
    """Settings on free ports; the metrics ports follow one another."""
    return LocalSettings(
        home=home,
        kafka_port=free_port(),
        store_port=free_port(),
        console_port=free_port(),
        metrics_port=free_port(following=3),
    )


def test_busy_port_is_named(tmp_path: Path) -> None:
    """A port in use is refused before anything starts, by its setting's name."""
    local = local_settings(tmp_path)
    parts.check_ports(local)
    with socket.socket() as other:
        other.bind(("127.0.0.1", local.store_port))
        other.listen()
        with pytest.raises(
            Misconfigured, match=f"RIDGELINE_LOCAL_STORE_PORT: port {local.store_port}"
        ):
            parts.check_ports(local)


def test_second_instance_is_refused(tmp_path: Path) -> None:
    """One home, one stack; the message says which process has it."""
    local = LocalSettings(home=tmp_path)
    refused = pytest.raises(Misconfigured, match=f"in use by ridgeline process {os.getpid()}")
    with parts.lock_home(local), refused:
        parts.lock_home(local)
    parts.lock_home(local).close()
