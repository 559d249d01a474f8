"""Two pages for people: try it (`/`) and read about it (`/docs`). They load nothing from other hosts."""

from pathlib import Path

from fastapi import APIRouter, Response

STATIC = Path(__file__).parent.parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


def _serve(path: str, name: str) -> None:
    """Adds a route for one file, read now: a missing file stops the start, not a request."""
    file = STATIC / name
    body, media_type = file.read_bytes(), TYPES[file.suffix]

    async def page() -> Response:
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        return Response(body, media_type=media_type, headers=headers)

    router.add_api_route(path, page, methods=["GET"])


for _path, _name in {
    "/": "playground.html",
    "/docs": "docs.html",
    "/static/playground.js": "playground.js",
    "/static/docs.js": "docs.js",
    "/static/style.css": "style.css",
}.items():
    _serve(_path, _name)
