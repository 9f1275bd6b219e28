"""NVIDIA GPUs over NVML: one row per GPU, XIDs as they happen.

What a GPU, a driver or our rights do not give is missing in its column and asked again after ten
minutes. A GPU that is lost yields no row, one event, and stops no other.
"""

from __future__ import annotations

import numpy as np
import structlog

from collectors.nvml import library
from collectors.nvml.asking import DeviceLost
from collectors.nvml.device import LOST_RETRY_MS, Gpu
from collectors.nvml.library import NAME, NvmlError, Trouble
from collectors.nvml.xid_catalogue import describe
from collectors.nvml.xids import Xid, XidWatch
from collectors.protocol import Batch
from collectors.site import Site
from ridgeline.errors import NoData, Retry, RidgelineError
from ridgeline.events import DeviceEvent
from ridgeline.metrics import COLLECT_READ_ERRORS
from ridgeline.schema import GPU
from ridgeline.settings import CollectSettings

log = structlog.get_logger()


class Nvml:
    """The GPUs of this machine. The library must have been started; `close` stops it."""

    def __init__(self, settings: CollectSettings) -> None:
        self._site = Site.of(settings)
        self._closed = False
        self._gpus: dict[int, Gpu] = {}
        self._count = _device_count()
        self._look_again_ms = 0
        self._find_gpus()
        self._watch = self._new_watch()

    def collect(self, now_ms: int) -> Batch:
        """One row per GPU that answers.

        Raises:
            NoData: the driver is gone.
            Retry: no GPU answered a single question, though none is lost.
        """
        batch = Batch()
        try:
            self._look_again(now_ms)
            read = [(gpu, self._row(gpu, now_ms, batch)) for gpu in self._gpus.values()]
        except NoData:
            if not self._watch.pending():
                raise
            self._take_xids(batch)  # what led to it must not be lost: gone is said the next time
            return batch
        if self._watch.broken:
            self._watch_anew()
        self._take_xids(batch)
        rows = [self._with_xids(gpu, row) for gpu, row in read if row is not None]
        if rows:
            batch.frames.append((GPU, np.concatenate(rows)))
        elif not batch.events and not any(gpu.lost for gpu in self._gpus.values()):
            raise Retry("no GPU answers: every NVML reading failed")
        batch.inventory += [gpu.item(now_ms) for gpu in self._gpus.values()]
        return batch

    def close(self) -> None:
        """Stop the XID thread and let go of the library."""
        if self._closed:
            return
        self._closed = True
        self._watch.close()
        for gpu in self._gpus.values():
            gpu.close()
        library.stop()

    def _row(self, gpu: Gpu, now_ms: int, batch: Batch) -> np.ndarray | None:
        """The row of a GPU; None when it is lost or answered nothing."""
        if gpu.lost and now_ms < gpu.retry_ms:
            return None
        row = GPU.empty(1)
        row["ts"], row["node"], row["device"] = now_ms, self._site.node, gpu.device
        before = gpu.answers
        try:
            gpu.fill(row[0], now_ms)
        except DeviceLost as error:
            self._lost(gpu, error, now_ms, batch)
            return None
        if gpu.answers == before:
            return None
        if gpu.lost:
            log.info("gpu is back", collector=NAME, gpu=gpu.index, uuid=gpu.uuid)
            gpu.lost = False
            self._watch_anew()
        return row

    def _lost(self, gpu: Gpu, error: DeviceLost, now_ms: int, batch: Batch) -> None:
        gpu.retry_ms = now_ms + LOST_RETRY_MS
        if gpu.lost:
            return
        gpu.lost = True
        log.warning("gpu is lost", collector=NAME, gpu=gpu.index, error=str(error))
        batch.events.append(
            DeviceEvent(
                device=gpu.device,
                node=self._site.node,
                kind="lost",
                code=error.code,
                message=f"gpu{gpu.index} lost: {library.text_of(error.code)}; no readings from it",
                ts=now_ms,
            )
        )

    def _take_xids(self, batch: Batch) -> None:
        by_uuid = {gpu.uuid: gpu for gpu in self._gpus.values()}
        for xid in self._watch.take():
            gpu = by_uuid.get(xid.uuid)
            if gpu is not None:
                gpu.xid_count += 1
                gpu.last_xid = xid.code
                batch.events.append(self._xid_event(gpu, xid))

    def _xid_event(self, gpu: Gpu, xid: Xid) -> DeviceEvent:
        return DeviceEvent(
            device=gpu.device,
            node=self._site.node,
            kind="xid",
            code=xid.code,
            message=describe(xid.code),
            ts=xid.ts_ms,
        )

    def _with_xids(self, gpu: Gpu, row: np.ndarray) -> np.ndarray:
        if gpu.uuid in self._watch.watched:
            row["xid_events"] = gpu.xid_count
        if gpu.last_xid is not None:
            row["last_xid"] = gpu.last_xid
        return row

    def _look_again(self, now_ms: int) -> None:
        """A GPU that was lost when we started may come back."""
        if len(self._gpus) == self._count or now_ms < self._look_again_ms:
            return
        self._look_again_ms = now_ms + LOST_RETRY_MS
        if self._find_gpus():
            self._watch_anew()

    def _find_gpus(self) -> bool:
        """Open the GPUs that are not open yet; whether there was one."""
        before = len(self._gpus)
        for index in range(self._count):
            if index not in self._gpus:
                try:
                    self._gpus[index] = Gpu(index, self._site)
                except NvmlError as error:
                    COLLECT_READ_ERRORS.labels(NAME).inc()
                    log.warning("gpu cannot be opened", gpu=index, error=str(error))
                    if error.trouble is Trouble.GONE:
                        raise library.gone(error) from None
        self._gpus = dict(sorted(self._gpus.items()))
        return len(self._gpus) > before

    def _new_watch(self) -> XidWatch:
        return XidWatch({g.uuid: g.handle for g in self._gpus.values() if not g.lost})

    def _watch_anew(self) -> None:
        """Watch the GPUs that are in order now.

        A lost GPU spoils its event set, and one that came back is in none. The old set goes
        first: two at a time would deliver each XID twice.
        """
        old = self._watch
        old.close()
        self._watch = self._new_watch()
        self._watch.put_back(old.take())


def _device_count() -> int:
    try:
        count = int(library.call("nvmlDeviceGetCount"))
    except NvmlError as error:
        raise library.gone(error) from None
    if count == 0:
        raise NoData("no NVIDIA GPU: the driver lists none; GPU metrics are off")
    return count


def create(settings: CollectSettings) -> Nvml:
    """The collector of this machine's GPUs.

    Raises:
        NoData: there is no driver, or it has no GPU.
        Retry: the driver does not answer.
    """
    library.start()
    try:
        return Nvml(settings)
    except RidgelineError:
        library.stop()
        raise
