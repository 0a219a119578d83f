"""The service over HTTP."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ingest.mapping import REFUND
from live.event import Event, RefusedError, parse_events, refused
from live.service import Service

EVENTS_BODY: dict[str, Any] = {
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
DECISION: dict[str, Any] = {
    "session_id": "v-1001-1750000000000", "decision_point": "engaged", "visitor_id": "v-1001",
    "decided_ms": 1750000042000, "action": "show", "why": "arm coupon", "probability": 0.031,
    "risk_band": "medium", "reasons": ["Towards leaving: no cart yet (has_addtocart = 0)"], "p_control": 0.03,
    "p_treatment": 0.05, "uplift": 0.02, "treat": 1, "suggested": "coupon", "arm": "coupon", "offer": "coupon",
    "propensity": 0.9, "model_version": "catboost-0123456789ab", "uplift_version": "mean-0123456789ab",
    "is_synthetic": False, "is_simulated": False, "degraded": [], "dry_run": False,
}  # fmt: skip
ANSWER = {"accepted": 1, "repeated": 0, "decisions": [DECISION], "degraded": []}


def _described(text: str, example: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": text, "content": {"application/json": {"example": example}}}}


class Door:
    """Answers `POST /events` itself, of which there are many, and leaves all else to FastAPI.

    Parameters
    ----------
    app : FastAPI
        Answers everything else.
    service : Service
        Takes the events.
    """

    def __init__(self, app: FastAPI, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/events"):
            await self._app(scope, receive, send)
            return
        started, headers = time.monotonic(), list[tuple[bytes, bytes]]()
        try:
            status, content = 200, await self._taken(scope, receive)
        except RefusedError as error:
            status, content = error.status, {"detail": error.faults}
            headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
        body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._service.metrics.answers.labels(str(status)).inc()
        self._service.metrics.answer_seconds.observe(time.monotonic() - started)

    async def _taken(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        service = self._service
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        _check_token(headers, service.settings.token)
        known = service.known
        if known is None:
            raise refused(503, "not ready yet", "service")
        body = await _body_of(headers, receive, service.settings.body_bytes)
        events = parse_events(body, (*known.shop.facts.kinds, REFUND))
        return await asyncio.wrap_future(service.submit(events))


def make_app(service: Service) -> Door:
    """Make the application.

    Parameters
    ----------
    service : Service
        What answers; it starts and ends with the application.

    Returns
    -------
    Door
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

    @app.post("/events", openapi_extra=EVENTS_BODY, responses=_described("What was decided", ANSWER))
    async def take_events() -> None:
        """Take one event or a list; answered when they are on the disk."""
        # For /docs alone: the door has answered.

    _add_reading(app, service)
    return Door(app, service)


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


async def _body_of(headers: Mapping[str, str], receive: Receive, most: int) -> bytes:
    too_large = refused(413, f"at most {most} bytes", "body")
    stated = headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > most:
        raise too_large
    parts, size, goes_on = list[bytes](), 0, True
    while goes_on:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise refused(400, "the sender hung up", "body")
        part = message.get("body", b"")
        goes_on = message.get("more_body", False)
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)
