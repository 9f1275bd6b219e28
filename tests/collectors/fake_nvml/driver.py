"""Builds the fake NVML, writes its state, and puts it under the real `pynvml`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml
import pytest

from collectors.nvml import xids
from tests.collectors.fake_nvml.profiles import State
from tests.needs import need_program

_SOURCE = Path(__file__).with_name("fake_nvml.c")


def build(folder: Path, *flags: str) -> Path:
    """Compile the fake into `folder/libnvidia-ml.so.1`; skips without a C compiler."""
    compiler = need_program("gcc", "install gcc")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-O1", "-shared", "-fPIC", *flags, "-o", str(library), str(_SOURCE)]
    subprocess.run([*command, "-lpthread"], check=True)
    return library


class FakeNvml:
    """GPUs that a test describes and changes between polls.

    Args:
        path: The state file.
        library: The compiled fake.
    """

    def __init__(self, path: Path, library: ctypes.CDLL) -> None:
        self.path = path
        self.library = library
        self._state: State = {"devices": 0, "driver": "550.163.01"}
        self._xids = 0

    def add(self, profile: State) -> int:
        """Add a GPU; its index."""
        index = int(str(self._state["devices"]))
        self._state["devices"] = index + 1
        self.set({f"gpu.{index}.{k}": v for k, v in {"uuid": uuid(index), **profile}.items()})
        return index

    def set(self, changes: State) -> None:
        """Change the state; None takes a line away."""
        self._state.update(changes)
        lines = [f"{key} {value}\n" for key, value in self._state.items() if value is not None]
        draft = self.path.with_suffix(".draft")
        draft.write_text("".join(lines), encoding="ascii")
        draft.replace(self.path)

    def gpu(self, index: int, changes: State) -> None:
        """Change one GPU."""
        self.set({f"gpu.{index}.{key}": value for key, value in changes.items()})

    def xid(self, *gpu_and_code: tuple[int, int], changes: State | None = None) -> None:
        """Let XIDs happen, all at once and together with other changes."""
        new: State = dict(changes or {})
        for gpu, code in gpu_and_code:
            new[f"xid.{self._xids}"] = f"{gpu}:{code}"
            self._xids += 1
        self.set(new)


def uuid(index: int) -> str:
    """UUID of a fake GPU."""
    return f"GPU-00000000-0000-0000-0000-{index:012d}"


def install(library: Path, path: Path, patch: pytest.MonkeyPatch) -> FakeNvml:
    """Put the fake under `pynvml` until the patch is undone.

    Loaded by path, it stays invisible to anyone who looks for the real library by name.
    """
    loaded = ctypes.CDLL(str(library))
    loaded.fake_nvml_reset()
    patch.setattr(pynvml, "nvmlLib", loaded)
    patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    patch.setattr(xids, "_WAIT_MS", 4)  # so that closing does not have to wait
    patch.setitem(os.environ, "FAKE_NVML_STATE", str(path))
    fake = FakeNvml(path, loaded)
    fake.set({})
    return fake


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds; fail after 20 s."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "still not true after 120 s"
        time.sleep(0.002)


@contextlib.contextmanager
def no_driver() -> Iterator[None]:
    """As on a machine without NVIDIA's library, whatever this one has."""

    def no_library(_: str) -> object:
        raise OSError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pynvml, "nvmlLib", None)
        patch.setattr(pynvml, "CDLL", no_library)
        yield
