"""The driver's library through `nvidia-ml-py`: start, stop, calls, and its errors sorted for us.

Functions are named by text and looked up when called, so that one that an old driver or an old
binding lacks costs its own reading and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from ridgeline.errors import NoData, Retry

try:
    import pynvml
except ImportError:  # the extra `collectors` is not installed: said in `start`
    pynvml = None

NAME = "nvml"
FUNCTION_NOT_FOUND = 13
TIMEOUT = 10
_LIBRARY_NOT_FOUND = 12
_OFF = "GPU metrics are off"

log = structlog.get_logger()


class Trouble(StrEnum):
    """What an NVML return code means for what we do next."""

    REFUSED = "refused"  # this reading is not given here: ask again in minutes
    LOST = "lost"  # this GPU is out of order, the others go on
    GONE = "gone"  # there is no driver any more
    PASSING = "passing"  # this reading may work the next time


# Return codes of nvmlReturn_t (nvml.h).
_TROUBLE: Mapping[int, Trouble] = MappingProxyType(
    {
        1: Trouble.GONE,  # UNINITIALIZED
        2: Trouble.REFUSED,  # INVALID_ARGUMENT: an id newer than the driver
        3: Trouble.REFUSED,  # NOT_SUPPORTED
        4: Trouble.REFUSED,  # NO_PERMISSION
        6: Trouble.REFUSED,  # NOT_FOUND
        9: Trouble.GONE,  # DRIVER_NOT_LOADED
        12: Trouble.GONE,  # LIBRARY_NOT_FOUND
        13: Trouble.REFUSED,  # FUNCTION_NOT_FOUND
        15: Trouble.LOST,  # GPU_IS_LOST
        16: Trouble.LOST,  # RESET_REQUIRED
        18: Trouble.GONE,  # LIB_RM_VERSION_MISMATCH: the driver was replaced under us
        22: Trouble.REFUSED,  # VGPU_ECC_NOT_SUPPORTED
        25: Trouble.REFUSED,  # ARGUMENT_VERSION_MISMATCH
        26: Trouble.REFUSED,  # DEPRECATED
        28: Trouble.LOST,  # GPU_NOT_FOUND
    }
)


class NvmlError(Retry):
    """A call failed.

    Args:
        function: The NVML function.
        code: Its `nvmlReturn_t`.
    """

    def __init__(self, function: str, code: int) -> None:
        self.function = function
        self.code = code
        super().__init__(f"{function}: {text_of(code)} (NVML return code {code})")

    @property
    def trouble(self) -> Trouble:
        """What to do next."""
        return trouble_of(self.code)


def trouble_of(code: int) -> Trouble:
    """What a return code means for us; one we do not know is taken for passing."""
    return _TROUBLE.get(code, Trouble.PASSING)


def text_of(code: int) -> str:
    """NVML's own short text of a return code, without asking the driver."""
    texts: Mapping[int, str] = pynvml.NVMLError._errcode_to_string if pynvml else {}  # noqa: SLF001 - the public way needs a working driver
    return texts.get(code, "unknown error")


def call(function: str, *args: Any) -> Any:
    """Call an NVML function.

    Raises:
        NvmlError: the driver refused, or driver or binding lack the function.
    """
    bound = getattr(pynvml, function, None)
    if bound is None:
        raise NvmlError(function, FUNCTION_NOT_FOUND)
    try:
        return bound(*args)
    except pynvml.NVMLError as error:
        raise NvmlError(function, error.value) from None


def struct(name: str) -> Any:
    """A zeroed struct of the binding's, by its ctypes name."""
    return getattr(pynvml, name)()


def start() -> None:
    """Load and initialise the library; pair it with `stop`.

    Raises:
        NoData: there is no driver (or no binding) on this machine.
        Retry: there is one, but it does not answer.
    """
    if pynvml is None:
        raise NoData(f"nvidia-ml-py is not installed; {_OFF}")
    _warn_when_shadowed()
    try:
        call("nvmlInit")
    except NvmlError as error:
        if error.code == _LIBRARY_NOT_FOUND:
            raise NoData(f"no NVIDIA driver: libnvidia-ml.so.1 not found; {_OFF}") from None
        raise gone(error) from None


def gone(error: NvmlError) -> NoData | Retry:
    """The error to raise when NVML as a whole does not work."""
    if error.trouble is Trouble.GONE:
        return NoData(f"no NVIDIA driver: {error}; {_OFF}")
    return error


def stop() -> None:
    """Let go of the library, even when the driver is gone already."""
    try:
        call("nvmlShutdown")
    except NvmlError as error:
        log.debug("nvml shutdown failed", error=str(error))


def _warn_when_shadowed() -> None:
    """The unofficial package `pynvml` (before 12) is a folder that hides NVIDIA's module."""
    place = Path(pynvml.__file__ or "")
    if place.name == "__init__.py":
        log.warning(
            "the unofficial pynvml package hides nvidia-ml-py; uninstall pynvml",
            collector=NAME,
            found=str(place),
        )
