"""The built pages as a client meets them, from a package made for the test."""

from __future__ import annotations

import gzip
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from graphql import parse, validate
from starlette.applications import Starlette

from api import pages
from api.schema import schema

if TYPE_CHECKING:
    from tests.api.conftest import Client

EXAMPLES = sorted((Path(__file__).parents[2] / "dashboard" / "graphiql" / "examples").glob("*.graphql"))

pytestmark = pytest.mark.anyio

SCRIPT = b"console.log('at the load line')\n" * 50
LICENCES = b"react 19\nLicence: MIT\n"
DASHBOARD = '<!doctype html><script type="module" src="/pages/assets/graphiql-1a2b.js"></script><plimsoll-app>'
HTML = '<!doctype html><script type="module" src="/pages/assets/graphiql-1a2b.js"></script>'


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `plimsoll_web` that this process finds before any other."""
    root = tmp_path / "plimsoll_web"
    (root / "assets").mkdir(parents=True)
    (root / "graphiql").mkdir()
    (root / "__init__.py").write_text("", encoding="utf-8")
    (root / "index.html").write_text(DASHBOARD, encoding="utf-8")
    (root / "graphiql" / "index.html").write_text(HTML, encoding="utf-8")
    (root / "assets" / "graphiql-1a2b.js").write_bytes(SCRIPT)
    (root / "assets" / "graphiql-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT, mtime=0))
    (root / "assets" / "icon-3c4d.svg").write_bytes(b"<svg/>")
    (root / "THIRD-PARTY-LICENSES.txt").write_bytes(LICENCES)
    (tmp_path / "secret.txt").write_text("not yours", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "plimsoll_web", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield root
    sys.modules.pop("plimsoll_web", None)
    importlib.invalidate_caches()


@pytest.fixture
def left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An install made with SKIP_WEB=1."""

    def absent(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(pages.importlib, "import_module", absent)


async def _get(path: str, method: str = "GET", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=Starlette(routes=pages.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://plimsoll") as client:
        return await client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.usefixtures("left_out")
def test_an_install_without_pages_serves_none_and_says_so() -> None:
    assert [each.path for each in pages.routes()] == ["/favicon.ico"]  # type: ignore[attr-defined]
    assert pages.graphiql_html() is None
    assert pages.dashboard_html() is None


def test_a_page_package_that_is_broken_is_an_error_and_not_an_absence(installed: Path) -> None:
    (installed / "__init__.py").write_text("import surely_not_installed\n", encoding="utf-8")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        pages.routes()


@pytest.mark.usefixtures("installed")
async def test_the_page_names_only_assets_that_are_served() -> None:
    html = pages.graphiql_html()
    assert html == HTML
    assert (await _get("/pages/assets/graphiql-1a2b.js")).status_code == 200


@pytest.mark.usefixtures("installed")
async def test_an_asset_is_kept_for_ever_and_has_its_own_content_type() -> None:
    response = await _get("/pages/assets/graphiql-1a2b.js", accept_encoding="identity")
    assert response.content == SCRIPT
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("accepted", ["gzip", "br, GZIP;q=0.5", "*", "identity;q=0, gzip"])
async def test_who_accepts_gzip_gets_the_compressed_twin(installed: Path, accepted: str) -> None:
    response = await _get("/pages/assets/graphiql-1a2b.js", accept_encoding=accepted)
    compressed = installed / "assets" / "graphiql-1a2b.js.gz"
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["vary"] == "accept-encoding"
    assert int(response.headers["content-length"]) == compressed.stat().st_size
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.content == SCRIPT


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br", "*, gzip;q=0", "gzip;q=much"])
async def test_who_does_not_accept_gzip_gets_the_plain_file(accepted: str) -> None:
    response = await _get("/pages/assets/graphiql-1a2b.js", accept_encoding=accepted)
    assert "content-encoding" not in response.headers
    assert response.headers["vary"] == "accept-encoding"
    assert response.content == SCRIPT


@pytest.mark.usefixtures("installed")
async def test_a_file_without_a_twin_is_sent_plain() -> None:
    response = await _get("/pages/assets/icon-3c4d.svg", accept_encoding="gzip")
    assert "content-encoding" not in response.headers
    assert response.headers["content-type"] == "image/svg+xml"


@pytest.mark.usefixtures("installed")
async def test_the_licences_may_change_with_the_next_install() -> None:
    response = await _get("/pages/THIRD-PARTY-LICENSES.txt")
    assert response.content == LICENCES
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "path",
    [
        "/pages/assets/graphiql-0000.js",
        "/pages/assets/graphiql-1a2b.js.gz",
        "/pages/__init__.py",
        "/pages/graphiql/index.html",
        "/pages/..%2fsecret.txt",
        "/pages/assets/../../secret.txt",
        "/pages/",
    ],
)
async def test_nothing_else_can_be_asked_for(path: str) -> None:
    assert (await _get(path)).status_code == 404


@pytest.mark.usefixtures("installed")
async def test_a_head_request_gets_the_headers_alone() -> None:
    response = await _get("/pages/assets/graphiql-1a2b.js", method="HEAD", accept_encoding="identity")
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["content-length"]) == len(SCRIPT)


@pytest.mark.usefixtures("installed")
async def test_a_browser_is_shown_the_dashboard_under_a_policy_without_any_exception(client: Client) -> None:
    response = await client.http.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert response.text == DASHBOARD
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"] == pages.DASHBOARD_POLICY
    assert "unsafe" not in pages.DASHBOARD_POLICY
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "Accept"


@pytest.mark.usefixtures("installed")
async def test_curl_is_still_told_where_to_look(client: Client) -> None:
    response = await client.http.get("/", headers={"accept": "*/*"})
    assert response.json()["graphql"] == "/graphql"
    assert response.headers["vary"] == "Accept"


@pytest.mark.usefixtures("left_out")
async def test_a_browser_is_told_where_pages_are_missing_and_how_to_have_them(client: Client) -> None:
    response = await client.http.get("/", headers={"accept": "text/html"})
    assert "uv sync --reinstall-package plimsoll" in response.text
    assert 'href="/docs"' in response.text


@pytest.mark.usefixtures("left_out")
async def test_the_icon_that_browsers_ask_for_is_there_with_pages_or_without(client: Client) -> None:
    icon = await client.http.get("/favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert icon.content == (EXAMPLES[0].parents[1] / "icon.svg").read_bytes()
    docs = await client.http.get("/docs")
    assert 'href="/favicon.ico"' in docs.text
    assert "img-src 'self'" in docs.headers["content-security-policy"]


@pytest.mark.parametrize("stated", [pages.CONTENT_SECURITY_POLICY, pages.DASHBOARD_POLICY])
def test_the_policies_name_no_host_and_allow_no_inline_script(stated: str) -> None:
    policy = dict(rule.split(" ", 1) for rule in stated.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert not any("http" in sources or "*" in sources for sources in policy.values())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_in_graphiql_is_an_operation_of_our_schema(example: Path) -> None:
    assert validate(schema._schema, parse(example.read_text(encoding="utf-8"))) == []


def test_there_is_an_example_of_each_kind_of_operation() -> None:
    documents = [parse(example.read_text(encoding="utf-8")) for example in EXAMPLES]
    kinds = {definition.operation.value for document in documents for definition in document.definitions}
    assert kinds == {"query", "mutation", "subscription"}
