"""Listens on a port and serves a bundle until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from edgecd.errors import InputError, require
from edgecd.runtime.predictor import Predictor
from edgecd.serve.config import ServeConfig

KEEP_ALIVE_S = 5
MAX_WAITING = 64  # requests at a time; more are refused with 503


def serve(bundle: Path, request: ServeConfig, ready: Callable[[str], None]) -> None:
    """Serve the bundle; `ready` is told the page's address once it can be asked.

    Returns when it is interrupted. Raises InputError for what is no bundle or a port that is taken,
    MissingExtra without the server's packages.
    """
    uvicorn = require("uvicorn", "serve")
    require("starlette", "serve")
    from edgecd.serve.app import make_app

    if request.page is not None and not (request.page / "index.html").is_file():
        raise InputError(
            f"--page {request.page}: has no index.html; build it first (npm run build)"
        )
    predictor = Predictor.load(
        bundle, request.provider, request.threads, request.context, request.threshold
    )
    app = make_app(predictor, bundle, request.names, request.page)
    with listening(request.host, request.port) as sock:
        options = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_S,
            limit_concurrency=MAX_WAITING,
        )
        port = sock.getsockname()[1]
        ready(f"http://{request.address}:{port}/{'?bundle=files/' if request.page else ''}")
        try:
            uvicorn.Server(options).run(sockets=[sock])
        except KeyboardInterrupt:  # the way to stop it, so nothing was interrupted
            return


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; InputError where it cannot."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as bad:
        raise InputError(
            f"cannot listen on {host} port {port} ({bad.strerror or bad}): choose another with "
            "--port, or 0 for any free one"
        ) from None
