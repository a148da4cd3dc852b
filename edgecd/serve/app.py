"""The endpoints over a loaded bundle: JSON in, JSON out, and a page for people."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecd.errors import EdgecdError, InputError
from edgecd.formats.manifest import LOADED, MANIFEST
from edgecd.runtime.inspect import describe
from edgecd.runtime.predictor import Prediction, Predictor

PAGE = Path(__file__).parent / "page"
MAX_BODY_BYTES = 4 << 20
MAX_INPUTS = 1_000
# Scripts of the page alone; a page that runs the model itself needs WebAssembly, threads, and may
# fetch a bundle from elsewhere.
HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self' blob:; connect-src 'self' https: http://localhost:* http://127.0.0.1:*; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def make_app(
    predictor: Predictor, bundle: Path, names: Sequence[str], page: Path | None = None
) -> Starlette:
    """The server's app; a request must name one of `names` as its host.

    `page` is a folder of a page instead of the built-in one, which then also gets the bundle's
    files, under `files/`.
    """
    about = _about(predictor, bundle)
    one_at_a_time = CapacityLimiter(1)  # the runtime has threads of its own

    async def predict(request: Request) -> Response:
        asked = await _body(request)
        return JSONResponse(await run_sync(_answer, predictor, asked, limiter=one_at_a_time))

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def info(request: Request) -> Response:
        return JSONResponse(about)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in (MANIFEST, *LOADED) or not (bundle / name).is_file():
            raise HTTPException(404)
        return FileResponse(bundle / name)

    routes: list[Route | Mount] = [
        Route("/predict", predict, methods=["GET", "POST"]),
        Route("/health", health),
        Route("/bundle", info),
        Mount("/", StaticFiles(directory=page or PAGE, html=True)),
    ]
    if page is not None:
        routes.insert(0, Route("/files/{name}", file))
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(names), www_redirect=False),
            Middleware(_WithHeaders),
        ],
        exception_handlers={
            HTTPException: _http_error,
            EdgecdError: _own_error,
            Exception: _unexpected_error,
        },
    )


def answer(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON."""
    return {
        "label": prediction.label,
        "unsure": prediction.unsure,
        "probabilities": prediction.probabilities,
        "shortened": prediction.shortened,
    }


class _WithHeaders:
    """Puts HEADERS on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, with_headers)


def _about(predictor: Predictor, bundle: Path) -> dict[str, Any]:
    """What there is to know about the model, as it answers here."""
    import onnxruntime

    manifest = predictor.manifest  # of a language model, with its context's task
    provider = predictor.session.get_providers()[0].removesuffix("ExecutionProvider")
    return {
        **describe(bundle),
        "bundle": bundle.resolve().name,
        "task": manifest.task,
        "labels": list(manifest.labels),
        "verbalizer": dict(manifest.verbalizer),
        "template": manifest.template,
        "max_length": manifest.max_length,
        "fields": list(manifest.prompt.fields),
        "threshold": manifest.threshold,
        "runtime": f"onnxruntime {onnxruntime.__version__}, {provider}",
    }


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request; HTTPException for one that is too large or is none."""
    if request.method != "POST":
        raise HTTPException(405, "ask with POST")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which a form of another site cannot send
        raise HTTPException(415, "the content-type must be application/json")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is over {MAX_BODY_BYTES} bytes: send fewer inputs")
    try:
        asked = json.loads(content)
    except (ValueError, RecursionError) as bad:
        raise HTTPException(400, f"not valid JSON ({bad})") from None
    if not isinstance(asked, dict):
        raise HTTPException(400, 'expected an object such as {"input": "..."}')
    return asked


def _answer(predictor: Predictor, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to one `input`, or to several `inputs`; InputError for a wrong request."""
    if unknown := set(asked) - {"input", "inputs", "threshold"}:
        raise InputError(
            f"unknown key {sorted(unknown)[0][:64]!r}: input, inputs, threshold are known"
        )
    if ("input" in asked) == ("inputs" in asked):
        raise InputError("give one input, or several inputs")
    inputs = asked["inputs"] if "inputs" in asked else [asked["input"]]
    if not isinstance(inputs, list) or len(inputs) > MAX_INPUTS:
        raise InputError(f"inputs must be a list of at most {MAX_INPUTS}")
    threshold = asked.get("threshold")
    if threshold is not None:
        known = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not known or not 0 <= threshold <= 1:
            raise InputError("threshold must be a number from 0 to 1")
        predictor = predictor.with_threshold(float(threshold))
    began = time.perf_counter()
    answers = [answer(one) for one in predictor.predict_batch(inputs)]
    took = {"milliseconds": round((time.perf_counter() - began) * 1000, 3)}
    return {"answers": answers, **took} if "inputs" in asked else {**answers[0], **took}


def _error(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail)


async def _own_error(request: Request, error: Exception) -> Response:
    return _error(400, " ".join(str(error).splitlines()))


async def _unexpected_error(request: Request, error: Exception) -> Response:
    return _error(500, "the server failed at this request; its own terminal says more")
