"""Who imports whom in this repository: read from the code, so that imports inside functions and for types count too."""

import ast
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.architecture.sources import PACKAGES, ROOT, python_files

Graph = Mapping[str, frozenset[str]]
"""Modules, each with those that it imports."""
PYTHON_CLIENT = ROOT / "clients" / "python"


@cache
def repository() -> Graph:
    """The repository's packages, its tests and its Python client."""
    files = {module_of(path, ROOT): path for path in python_files(*PACKAGES, "benchmarks", "tests")}
    client = [path for path in python_files("clients") if path.is_relative_to(PYTHON_CLIENT)]
    files |= {module_of(path, PYTHON_CLIENT): path for path in client}
    return {name: imported_by(path, name, files) for name, path in files.items()}


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path, name: str, known: Collection[str]) -> frozenset[str]:
    """Those of the `known` modules that one file imports, as a whole or something of them."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return frozenset(_imports(ast.parse(path.read_text()), package, known))


def _imports(tree: ast.AST, package: str, known: Collection[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield from (module for module in [inner if inner in known else source] if module in known)


def circles(graph: Graph) -> set[frozenset[str]]:
    """Groups of modules, each of which leads to every other."""
    reach = {module: reachable(graph, module) for module in graph}
    return {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in graph
        if module in reach[module]
    }


def reachable(graph: Graph, start: str) -> frozenset[str]:
    """What `start` leads to by one step or more."""
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            ahead.extend(graph[module])
    return frozenset(found)


def longest_chain(graph: Graph) -> list[str]:
    """As many modules as there are such that each imports the next. The graph must have no circle."""
    chains: dict[str, list[str]] = {}

    def chain(module: str) -> list[str]:
        if module not in chains:
            chains[module] = [module, *max((chain(other) for other in graph[module]), key=len, default=[])]
        return chains[module]

    return max((chain(module) for module in graph), key=len)


def within(graph: Graph, package: str) -> Graph:
    """The part of the graph that lies in one package."""
    inside = {module for module in graph if module == package or module.startswith(f"{package}.")}
    return {module: graph[module] & inside for module in inside}
