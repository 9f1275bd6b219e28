"""The HTTP API: advice, detections and the cluster's state as JSON.

It renders a `ConsoleSource`; it decides nothing. With a token set, every path but `/api/health`
needs `Authorization: Bearer <token>`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from advisor.source import ClusterState, ConsoleSource
from ridgeline.errors import Retry
from ridgeline.events import Advice, AdviceState, Detection

T = TypeVar("T")


class Health(BaseModel):
    """Whether the advisor lives and how fresh what it sees is."""

    status: str
    updated_ms: int | None


class By(BaseModel):
    """Who did it and why."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, Field(min_length=1, max_length=200)]
    note: Annotated[str, Field(max_length=2000)] = ""


class Resolve(By):
    """Who closes it, and whether what it advised was done."""

    done: bool = False


class Snooze(By):
    """Who hides it and for how long."""

    hours: Annotated[float, Field(gt=0, le=24 * 365)]


def router(source: ConsoleSource, token: str = "") -> APIRouter:
    """Routes over `source`; an empty `token` leaves them open."""

    def authorised(authorization: Annotated[str, Header()] = "") -> None:
        if token and not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(
                401, "bearer token missing or wrong", {"WWW-Authenticate": "Bearer"}
            )

    routes = APIRouter(prefix="/api")
    closed = APIRouter(dependencies=[Depends(authorised)])

    @routes.get("/health")
    async def health() -> Health:
        state = await _available(source.cluster())
        return Health(status="ok", updated_ms=state.updated_ms)

    @closed.get("/cluster")
    async def cluster() -> ClusterState:
        return await _available(source.cluster())

    @closed.get("/detections")
    async def detections() -> list[Detection]:
        return await _available(source.detections())

    routes.include_router(_advice_routes(source), dependencies=[Depends(authorised)])
    routes.include_router(closed)
    return routes


def _advice_routes(source: ConsoleSource) -> APIRouter:
    closed = APIRouter()

    @closed.get("/advice")
    async def advice_list(
        state: Annotated[list[AdviceState] | None, Query()] = None,
    ) -> list[Advice]:
        found = await _available(source.advice())
        return [a for a in found if state is None or a.state in state]

    async def one(advice_id: str) -> Advice:
        for advice in await _available(source.advice()):
            if advice.id == advice_id:
                return advice
        raise HTTPException(404, f"no advice {advice_id!r}")

    @closed.get("/advice/{advice_id}")
    async def advice_one(advice_id: str) -> Advice:
        return await one(advice_id)

    @closed.post("/advice/{advice_id}/acknowledge")
    async def acknowledge(advice_id: str, body: By) -> Advice:
        await one(advice_id)
        await _available(source.acknowledge(advice_id, body.by))
        return await one(advice_id)

    @closed.post("/advice/{advice_id}/snooze")
    async def snooze(advice_id: str, body: Snooze) -> Advice:
        await one(advice_id)
        await _available(source.snooze(advice_id, body.by, body.hours))
        return await one(advice_id)

    @closed.post("/advice/{advice_id}/resolve")
    async def resolve(advice_id: str, body: Resolve) -> Advice:
        await one(advice_id)
        await _available(source.resolve(advice_id, body.by, body.note, done=body.done))
        return await one(advice_id)

    return closed


async def _available(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except Retry as error:
        raise HTTPException(503, f"the store is away: {error}") from error
