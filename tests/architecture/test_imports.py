"""Imports run one way, and not far: who reads a module need not read what it belongs to."""

from pathlib import Path

import pytest

from tests.architecture.import_graph import Graph, circles, imported_by, longest_chain, repository, within

LONGEST_CHAIN_IN_CORE = 10


def test_no_circle() -> None:
    assert [sorted(circle) for circle in circles(repository())] == []


def test_core_has_few_levels() -> None:
    chain = longest_chain(within(repository(), "core"))
    assert len(chain) <= LONGEST_CHAIN_IN_CORE, " -> ".join(chain)


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import core.errors", {"core.errors"}),
        ("import torch, core.errors as errors", {"core.errors"}),
        ("from core import errors, types", {"core.errors", "core.types"}),
        ("from core.errors import CoreError", {"core.errors"}),
        ("from core import __version__", {"core"}),
        ("from . import errors", {"core.errors"}),
        ("from .errors import CoreError", {"core.errors"}),
        ("from ..types import Mask", set()),
        ("def late():\n    import core.errors", {"core.errors"}),
        ("if TYPE_CHECKING:\n    from core.types import Mask", {"core.types"}),
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, code: str, modules: set[str]) -> None:
    (tmp_path / "pipeline.py").write_text(code)
    known = {"core", "core.errors", "core.types", "core.pipeline"}
    assert imported_by(tmp_path / "pipeline.py", "core.pipeline", known) == modules


def test_relative_imports_are_seen_from_where_they_stand(tmp_path: Path) -> None:
    known = {"core", "core.errors", "core.masks", "core.masks.regions"}
    (tmp_path / "regions.py").write_text("from ..errors import CoreError")
    (tmp_path / "__init__.py").write_text("from .regions import Masks")
    assert imported_by(tmp_path / "regions.py", "core.masks.regions", known) == {"core.errors"}
    assert imported_by(tmp_path / "__init__.py", "core.masks", known) == {"core.masks.regions"}


def test_a_circle_and_a_chain_are_found() -> None:
    straight: Graph = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset("d"), "d": frozenset()}
    assert circles(straight) == set()
    assert longest_chain(straight) == ["a", "b", "c", "d"]
    bent = {**straight, "d": frozenset("b"), "e": frozenset("e")}
    assert circles(bent) == {frozenset("bcd"), frozenset("e")}
