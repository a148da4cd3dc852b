"""What a server of a bundle is asked: its options, said once."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from edgecd.config import check_options, like, option
from edgecd.errors import InputError
from edgecd.runtime.config import PredictConfig

LOCAL = ("127.0.0.1", "localhost", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class ServeConfig:
    """Every choice of `edgecd serve`; InputError for a value out of its range.

    A request must name one of `names` as its host, so that a page of another site cannot reach the
    server under a name of its own. Other computers reach it only if `host` is not of this one.
    """

    host: str = option("127.0.0.1", help="Where to listen. Others reach it at 0.0.0.0 only.")
    port: int = option(8000, low=0, high=65535, help="The port; 0 takes any free one.")
    allow_host: tuple[str, ...] = option(
        (), help="Names by which other computers reach it, besides the address."
    )
    page: Path | None = option(
        None, help="Another page, as export/web builds: there the browser runs the model."
    )
    context: Path | None = like(PredictConfig, "context")
    threshold: float | None = like(PredictConfig, "threshold")
    provider: str = like(PredictConfig, "provider")
    threads: int | None = like(PredictConfig, "threads")

    def __post_init__(self) -> None:
        check_options(self)
        if self.host in EVERYWHERE and not self.allow_host:
            raise InputError(
                f"--host {self.host!r} lets every computer in reach ask: say under which names or "
                "addresses they may, with --allow-host"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts that a request may name."""
        return tuple(dict.fromkeys((*LOCAL, *map(_in_address, (self.host, *self.allow_host)))))

    @property
    def address(self) -> str:
        """The host as an address of the web has it."""
        return "localhost" if self.host in EVERYWHERE else _in_address(self.host)


def _in_address(host: str) -> str:
    """A name or an address as it stands in an address of the web."""
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
