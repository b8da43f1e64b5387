"""The built web pages, where this install has them: GraphiQL and the assets it loads.

The pages are a package of their own, `plimsoll_web`, made when Plimsoll is installed (`hatch_build.py`) and left out
with `SKIP_WEB=1`; nothing here knows how they are built. Assets carry a hash of their content in their names, so they
may be kept for ever; and they were compressed when they were built, so serving one costs a read. What exists is known
before the first request: a path is looked up in a table and never joined to a directory, so none can lead outside.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import BaseRoute, Route

PACKAGE = "plimsoll_web"
BASE_PATH = "/pages"
"""Compiled into the pages: `base` in dashboard/vite.config.ts."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # Monaco positions its lines by inline styles.
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self' data:",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""For whoever serves `graphiql_html`: the page may talk to the host it came from and to no other."""

_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
# Stated here, because `mimetypes` asks the machine, and machines differ about .js.
_CONTENT_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    """One file that may be asked for, and its compressed twin where it has one."""

    path: Path
    compressed: Path | None
    content_type: str
    cache_control: str


def routes() -> list[BaseRoute]:
    """The routes of the pages' assets; none where this install has no pages."""
    pages = _pages()
    if pages is None:
        return []
    assets = _assets(pages)

    async def asset(request: Request) -> FileResponse:
        found = assets.get(request.path_params["path"])
        if found is None:
            raise HTTPException(404, "no such asset; reload the page, it may be older than the server")
        return _response(found, request.headers.get("accept-encoding", ""))

    return [Route(BASE_PATH + "/{path:path}", asset, methods=["GET"], name="pages")]


def graphiql_html() -> str | None:
    """The GraphiQL page, to be served with `CONTENT_SECURITY_POLICY`; None where this install has no pages."""
    pages = _pages()
    return None if pages is None else (pages / "graphiql" / "index.html").read_text(encoding="utf-8")


def _pages() -> Path | None:
    """The folder of the built pages; None where they were left out of this install."""
    try:
        importlib.import_module(PACKAGE)
    except ModuleNotFoundError as missing:
        if missing.name != PACKAGE:
            raise
        return None
    # A path, because installers unpack wheels.
    return Path(str(files(PACKAGE)))


def _assets(pages: Path) -> Mapping[str, _Asset]:
    """Every file that may be asked for, by its path below `BASE_PATH`. Pages are not among them: they need a policy."""
    assets = {}
    for path in sorted(pages.rglob("*")):
        content_type = _CONTENT_TYPES.get(path.suffix)
        if content_type is None:
            continue
        compressed = path.with_name(path.name + ".gz")
        hashed = path.parent == pages / "assets"
        assets[path.relative_to(pages).as_posix()] = _Asset(
            path=path,
            compressed=compressed if compressed.is_file() else None,
            content_type=content_type,
            cache_control=_FOREVER if hashed else _ASK_AGAIN,
        )
    return assets


def _response(asset: _Asset, accept_encoding: str) -> FileResponse:
    headers = {
        "cache-control": asset.cache_control,
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
    }
    path = asset.path
    if asset.compressed is not None and _accepts_gzip(accept_encoding):
        path = asset.compressed
        headers["content-encoding"] = "gzip"
    return FileResponse(path, headers=headers, media_type=asset.content_type)


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip (RFC 9110 §12.5.3): named or `*`, and not at weight zero."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        coding, _, parameter = item.partition(";")
        weight = parameter.strip().removeprefix("q=")
        try:
            weights[coding.strip()] = float(weight) if weight else 1.0
        except ValueError:
            # A weight that is none: the plain file suits everyone.
            weights[coding.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0.0
