"""A child process that never outlives its parent, with a size-bounded log."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
LOG_BYTES = 8 * 1024 * 1024
"""A log past this size becomes `<name>.1`; the one before it is dropped."""


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class BoundedLog:
    """Append-only text of at most two files of `limit_bytes` each."""

    def __init__(self, path: Path, limit_bytes: int = LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._limit_bytes = limit_bytes
        self._file = path.open("ab")

    def write(self, line: bytes) -> None:
        """Append a line; starts a new file when this one is full."""
        if self._file.tell() + len(line) > self._limit_bytes:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("ab")
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Process:
    """One child in its own process group; the kernel kills it when our process dies.

    Start it from a thread that lives as long as the parent: the kernel watches that thread.

    Args:
        name: What logs call it.
        command: Program and arguments.
        log: File that its output goes to, bounded by `LOG_BYTES`.
        env: Variables on top of ours.
        on_line: Called with each line of output, from another thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._on_line = on_line
        self._child = subprocess.Popen(
            list(command),
            env=os.environ | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, safe after fork
        )
        self._pump = threading.Thread(target=self._copy_output, name=f"log {name}", daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: killed by that signal."""
        return self._child.poll()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.exit_code is None

    def tail(self, lines: int = 5) -> str:
        """Last lines of its log."""
        with contextlib.suppress(OSError):
            text = self.log.read_bytes()[-8192:].decode(errors="replace")
            return "\n".join(text.strip().splitlines()[-lines:])
        return ""

    def wait(self, seconds: float) -> int | None:
        """Exit code once it ends; None when it still runs after `seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(seconds)
        return None

    def terminate(self) -> None:
        """Ask it to stop; does not wait."""
        self._signal(signal.SIGTERM)

    def stop(self, grace_seconds: float = 5.0) -> int:
        """SIGTERM, then SIGKILL to its whole group after `grace_seconds`; returns the exit code."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(grace_seconds)
        self._signal(signal.SIGKILL, group=True)
        code = self._child.wait()
        self._pump.join(5.0)  # the end of the log says why; who left the group may still hold it
        return code

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(self._child.pid, number)
            elif self.alive:
                self._child.send_signal(number)

    def _copy_output(self) -> None:
        stream: IO[bytes] | None = self._child.stdout
        if stream is None:
            return
        log = BoundedLog(self.log)
        with stream:
            for line in stream:
                log.write(line)
                if self._on_line is not None:
                    self._on_line(line.decode(errors="replace").rstrip())
        log.close()


def wait_until(
    ready: Callable[[], bool], process: Process, seconds: float, pause_seconds: float = 0.1
) -> None:
    """Poll `ready` until it is true.

    Raises:
        RuntimeError: the process ended or the time ran out; carries the end of its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.alive:
            raise RuntimeError(
                f"{process.name} ended with {process.exit_code}; {process.log}: {process.tail()}"
            )
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{process.name} not ready in {seconds:g} s; {process.log}: {process.tail()}"
            )
        time.sleep(pause_seconds)
