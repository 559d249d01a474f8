"""What the API answers at all: nothing forgotten, nothing hidden, one version."""

from service.app import bare_app, openapi_document

PAGES = {"/", "/docs", "/static/playground.js", "/static/docs.js", "/static/style.css"}


def served() -> set[tuple[str, str]]:
    routes = bare_app().state.endpoints
    return {(method.lower(), route.path) for route in routes for method in route.methods if method != "HEAD"}


def test_every_route_is_in_the_document_or_a_page() -> None:
    documented = {(method, path) for path, operations in openapi_document()["paths"].items() for method in operations}
    assert {(method, path) for method, path in served() if path not in PAGES} == documented


def test_there_is_one_version_and_nothing_for_debugging() -> None:
    assert {path.split("/")[1] for _, path in served() if path not in PAGES} == {"v1", "healthz"}
