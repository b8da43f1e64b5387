"""The built web pages, where this install has them: the dashboard, GraphiQL, and the assets they load.

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
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

PACKAGE = "plimsoll_web"
ICON_PATH = "/favicon.ico"
"""Where browsers look for one unasked, and where the pages that are not built point."""
BASE_PATH = "/pages"
"""Compiled into the pages: `base` in dashboard/vite.config.ts."""


def _policy(*more: str) -> str:
    """What a page may load: from the host it came from and from no other; `more` is what one of them needs besides."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            *more,
        )
    )


DASHBOARD_POLICY = _policy("style-src 'self'")
"""For whoever serves `dashboard_html`: not even a style in the page itself."""
CONTENT_SECURITY_POLICY = _policy("style-src 'self' 'unsafe-inline'", "font-src 'self' data:", "worker-src 'self'")
"""For whoever serves `graphiql_html`: Monaco positions its lines by inline styles, and works in workers."""

# The same as dashboard/graphiql/icon.svg, which is not in an install without pages.
ICON = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
  <title>Plimsoll</title>
  <circle cx="16" cy="16" r="10" fill="none" stroke="#3b82c4" stroke-width="3.5" />
  <path d="M1 16h30" stroke="#3b82c4" stroke-width="3.5" />
</svg>
"""

_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_FOR_A_DAY = "public, max-age=86400"
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
    """The routes of the icon and of the pages' assets; the icon alone where this install has no pages."""
    icon = Route(ICON_PATH, _icon, methods=["GET"])
    pages = _pages()
    if pages is None:
        return [icon]
    assets = _assets(pages)

    async def asset(request: Request) -> FileResponse:
        found = assets.get(request.path_params["path"])
        if found is None:
            raise HTTPException(404, "no such asset; reload the page, it may be older than the server")
        return _response(found, request.headers.get("accept-encoding", ""))

    return [icon, Route(BASE_PATH + "/{path:path}", asset, methods=["GET"], name="pages")]


def graphiql_html() -> str | None:
    """The GraphiQL page, to be served with `CONTENT_SECURITY_POLICY`; None where this install has no pages."""
    pages = _pages()
    return None if pages is None else (pages / "graphiql" / "index.html").read_text(encoding="utf-8")


def dashboard_html() -> str | None:
    """The dashboard's page, to be served with `DASHBOARD_POLICY`; None where this install has no pages."""
    pages = _pages()
    return None if pages is None else (pages / "index.html").read_text(encoding="utf-8")


async def _icon(_request: Request) -> Response:
    return Response(ICON, headers={"cache-control": _FOR_A_DAY}, media_type=_CONTENT_TYPES[".svg"])


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
