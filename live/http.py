"""The service over HTTP."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from live.event import Event, RefusedError, parse_events, refused
from live.service import Service

EVENTS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [Event.model_json_schema(), {"type": "array", "items": Event.model_json_schema()}],
                },
                "examples": {
                    "one": {"value": {"visitorid": "v-1001", "event": "view", "itemid": "sku-7", "event_id": "5b1e"}},
                    "several": {
                        "value": [
                            {"visitorid": "v-1001", "event": "view", "itemid": "sku-7", "timestamp": 1750000000000},
                            {"visitorid": "v-1001", "event": "addtocart", "itemid": "sku-7", "price": 19.9},
                        ]
                    },
                },
            }
        },
    }
}
DECISION = {
    "session_id": "v-1001-1750000000000", "decision_point": "engaged", "visitor_id": "v-1001",
    "decided_ms": 1750000042000, "action": "show", "why": "arm treatment", "probability": 0.031,
    "risk_band": "medium", "reasons": ["Towards leaving: no cart yet (has_addtocart = 0)"], "p_control": 0.03,
    "p_treatment": 0.05, "uplift": 0.02, "treat": 1, "arm": "treatment", "propensity": 0.9, "degraded": [],
}  # fmt: skip
ANSWER = {"accepted": 1, "repeated": 0, "decisions": [DECISION], "degraded": []}


def _described(text: str, example: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": text, "content": {"application/json": {"example": example}}}}


def make_app(service: Service) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    service : Service
        What answers; it starts and ends with the application.

    Returns
    -------
    FastAPI
        Ready for uvicorn.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(title="Funnelift live", description="Events in, decisions out.", version="1", lifespan=lifespan)

    @app.exception_handler(RefusedError)
    async def _refuse(_: Request, error: RefusedError) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse({"detail": error.faults}, error.status, headers)

    _add_events(app, service)
    _add_reading(app, service)
    return app


def _add_events(app: FastAPI, service: Service) -> None:
    @app.post("/events", openapi_extra=EVENTS_BODY, responses=_described("What was decided", ANSWER))
    async def take_events(request: Request) -> JSONResponse:
        """Take one event or a list; answered when they are on the disk."""
        started, status = time.monotonic(), 200
        try:
            _check_token(request.headers, service.settings.token)
            known = service.known
            if known is None:
                raise refused(503, "not ready yet", "service")
            body = await _body_of(request, service.settings.body_bytes)
            events = parse_events(body, known.shop.facts.kinds)
            return JSONResponse(await asyncio.wrap_future(service.submit(events)))
        except RefusedError as error:
            status = error.status
            raise
        finally:
            service.metrics.answers.labels(str(status)).inc()
            service.metrics.answer_seconds.observe(time.monotonic() - started)


def _add_reading(app: FastAPI, service: Service) -> None:
    @app.get("/decisions/{visitor}", responses=_described("The newest first", {"decisions": [DECISION]}))
    async def tell_decisions(visitor: str, request: Request) -> JSONResponse:
        """What was decided about a visitor; an empty list where nothing was."""
        _check_token(request.headers, service.settings.token)
        return JSONResponse({"decisions": service.decisions_of(visitor)})

    @app.get("/healthz", responses=_described("The process lives", {"alive": True}))
    async def tell_health() -> JSONResponse:
        """Whether the process lives."""
        return JSONResponse({"alive": True})

    @app.get("/readyz", responses=_described("It can answer", {"ready": True, "build_number": 12}))
    async def tell_readiness() -> JSONResponse:
        """Whether it can answer, and with which build and models."""
        is_ready, told = service.readiness()
        return JSONResponse(told, 200 if is_ready else 503)

    @app.get("/metrics", response_class=Response)
    async def tell_metrics() -> Response:
        """Counters and times for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _check_token(headers: Mapping[str, str], token: str | None) -> None:
    if token is not None:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise refused(401, "missing or wrong token: Authorization: Bearer …", "header", "authorization")


async def _body_of(request: Request, most: int) -> bytes:
    too_large = refused(413, f"at most {most} bytes", "body")
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > most:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)
