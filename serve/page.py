"""The page at `/` and the files that it loads, read once when the service starts: no path of a request reaches the disk."""
# No `from __future__ import annotations`: FastAPI must see the types of endpoints that are made inside a function.

from pathlib import Path

from fastapi import FastAPI, Response

from serve.problems import ProblemError

FOLDER = Path(__file__).resolve().parent / "static"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Its own scripts, styles and connections; pictures and clips that it has made itself. Nothing of another host.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Permissions-Policy": "camera=(self), microphone=()", "Cache-Control": "no-cache"}


def add_page(app: FastAPI) -> None:
    """`/` and `/static/FILE`; they never ask for a key, as the page must load to ask for one."""
    files = {path.name: (path.read_bytes(), KINDS[path.suffix]) for path in sorted(FOLDER.iterdir()) if path.suffix in KINDS}

    def answer(name: str) -> Response:
        if name not in files:
            raise ProblemError("not-found", f"the page has no file {name!r}")
        content, kind = files[name]
        return Response(content, media_type=kind, headers=HEADERS)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return answer("index.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return answer(name)
