"""Builds sysfs trees as drivers show them, file by file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ridgeline.settings import CollectSettings


def settings_of(root: Path, **values: object) -> CollectSettings:
    """Settings whose sysfs and procfs are under `root`."""
    (root / "sys").mkdir(parents=True, exist_ok=True)
    given = {"host": "node07", "sysfs": root / "sys", "procfs": root / "proc", **values}
    return CollectSettings.model_validate(given)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files; a name may hold folders. The text `EINVAL` makes a file that refuses."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text == "EINVAL":
            path.mkdir()  # reading a folder fails with EISDIR, an OSError as EINVAL is
        else:
            path.write_text(f"{text}\n")


def add_driver(device: Path, driver: str) -> None:
    """Bind a device folder to a driver."""
    device.mkdir(parents=True, exist_ok=True)
    (device / "driver").symlink_to(f"/drivers/{driver}")


def add_interface(root: Path, name: str, files: Mapping[str, str], *, virtual: bool) -> None:
    """Add `/sys/class/net/<name>`, a link into the device tree as in the real one."""
    parent = "virtual" if virtual else "pci0000:00/0000:00:03.0"
    real = root / "sys" / "devices" / parent / "net" / name
    statistics = {f"statistics/{n}": "0" for n in ("tx_bytes", "rx_bytes")}
    write(real, {"type": "1", "operstate": "up", **statistics, **files})
    link = root / "sys" / "class" / "net" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(real)


def add_port(
    root: Path,
    device: str,
    port: str,
    files: Mapping[str, str],
    *,
    driver: str = "mlx5_core",
    layer: str = "InfiniBand",
) -> Path:
    """Add a port of `/sys/class/infiniband/<device>` that is up at 400 Gbit/s."""
    base = root / "sys" / "class" / "infiniband" / device
    if not (base / "device").exists():
        add_driver(base / "device", driver)
    standard = {"state": "4: ACTIVE", "rate": "400 Gb/sec (4X NDR)", "link_layer": layer}
    folder = base / "ports" / port
    write(folder, standard | dict(files))
    return folder
