"""Driver statistics of a network interface by the kernel's ethtool ioctl (as `ethtool -S`)."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Mapping

# linux/sockios.h and linux/ethtool.h
_SIOCETHTOOL = 0x8946
_GSSET_INFO, _GSTRINGS, _GSTATS = 0x37, 0x1B, 0x1D
_SET_STATISTICS = 1
_NAME_BYTES = 32


class Ethtool:
    """Reads statistics; the names of each interface are asked for when their number changes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._names: dict[str, tuple[str, ...]] = {}

    def statistics(self, interface: str) -> Mapping[str, int]:
        """Every statistic of the interface by name; empty where the driver has none or refuses."""
        try:
            count = self._count(interface)
            if not count:
                return {}
            if len(self._names.get(interface, ())) != count:
                self._names[interface] = self._read_names(interface, count)
            head = struct.pack("=II", _GSTATS, count)
            reply = self._call(interface, head, count * 8)
        except OSError:
            return {}
        return dict(zip(self._names[interface], struct.unpack(f"={count}Q", reply), strict=True))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _count(self, interface: str) -> int:
        head = struct.pack("=IIQ", _GSSET_INFO, 0, 1 << _SET_STATISTICS)
        return int(struct.unpack("=I", self._call(interface, head, 4))[0])

    def _read_names(self, interface: str, count: int) -> tuple[str, ...]:
        head = struct.pack("=III", _GSTRINGS, _SET_STATISTICS, count)
        reply = self._call(interface, head, count * _NAME_BYTES)
        raw = (reply[i : i + _NAME_BYTES] for i in range(0, len(reply), _NAME_BYTES))
        return tuple(name.split(b"\0", 1)[0].decode("ascii", "replace") for name in raw)

    def _call(self, interface: str, head: bytes, reply_bytes: int) -> bytes:
        buffer = array.array("B", head + bytes(reply_bytes))
        address, _ = buffer.buffer_info()
        request = struct.pack("16sP", interface.encode()[:15], address)
        fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        return buffer.tobytes()[len(head) :]
