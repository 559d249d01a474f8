"""How much a reader has to hold at once: files side by side in a folder, arguments of a function."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, name_of, python_files

MOST_FILES = 12
MOST_ARGUMENTS = 8
REGISTERED_AS_COMMAND = {"command", "group"}
REGISTERED_AS_ROUTE = {"get", "post", "put", "patch", "delete", "head", "options", "api_route"}
COUNTED = [path for path in python_files() if not name_of(path).startswith("tests/")]


@pytest.mark.parametrize("folder", ["core", "service", "jobs", "cli"])
def test_a_folder_has_few_files(folder: str) -> None:
    files = [path.name for path in python_files(folder) if path.parent == ROOT / folder]
    assert len(files) <= MOST_FILES, files


@pytest.mark.parametrize("path", COUNTED, ids=name_of)
def test_a_function_has_few_arguments(path: Path) -> None:
    long = long_functions(ast.parse(path.read_text()), of_client=name_of(path).startswith("clients/"))
    assert long == []


def long_functions(tree: ast.AST, *, of_client: bool) -> list[str]:
    """Functions with too many arguments, `Class.method` or `function`, but for those whose arguments are an interface:
    commands, routes and, in a client, public methods."""
    return [
        f"{owner}.{function.name}" if owner else function.name
        for owner, function in functions_in(tree)
        if arguments(function, method=bool(owner)) > MOST_ARGUMENTS
        and not registered(function)
        and not (of_client and owner and not function.name.startswith("_"))
    ]


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions_in(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, Function]]:
    """Every function at any depth, with the class whose method it is."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield owner, node
            yield from functions_in(node)
        else:
            yield from functions_in(node, node.name if isinstance(node, ast.ClassDef) else owner)


def arguments(function: Function, *, method: bool) -> int:
    """Of every kind, `*args` and `**kwargs` as one each; without `self` or `cls`."""
    of = function.args
    positional = [*of.posonlyargs, *of.args]
    static = any(isinstance(node, ast.Name) and node.id == "staticmethod" for node in function.decorator_list)
    bound = 1 if method and not static and positional else 0
    return len(positional) - bound + len(of.kwonlyargs) + (of.vararg is not None) + (of.kwarg is not None)


def registered(function: Function) -> bool:
    """Whether a decorator makes it a command of click, or a route of FastAPI."""
    calls = [node.func for node in function.decorator_list if isinstance(node, ast.Call)]
    names = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    return bool(names & (REGISTERED_AS_COMMAND | REGISTERED_AS_ROUTE))


@pytest.mark.parametrize(
    "code",
    [
        "def f(a, b, c, /, d, e, f, *, g, h, i): ...",
        "async def f(a, b, c, d, e, f, g, *h, **i): ...",
        "class C:\n    def f(self, a, b, c, d, e, f, g, h, i): ...",
        "class C:\n    @staticmethod\n    def f(a, b, c, d, e, f, g, h, i): ...",
        "def outer():\n    def f(a, b, c, d, e, f, g, h, i): ...",
        "if True:\n    @cache\n    def f(a, b, c, d, e, f, g, h, i): ...",
    ],
)
def test_a_long_function_is_seen(code: str) -> None:
    assert [name.rpartition(".")[2] for name in long_functions(ast.parse(code), of_client=False)] == ["f"]


@pytest.mark.parametrize(
    "code",
    [
        "def f(a, b, c, d, e, f, g, h): ...",
        "class C:\n    def f(self, a, b, c, d, e, f, g, h): ...",
        "@click.command()\n@click.option('--a')\ndef f(a, b, c, d, e, f, g, h, i): ...",
        "@router.post('/v1/transfers', status_code=202)\nasync def f(a, b, c, d, e, f, g, h, i): ...",
    ],
)
def test_what_is_short_or_an_interface_passes(code: str) -> None:
    assert long_functions(ast.parse(code), of_client=False) == []


def test_of_a_client_only_public_methods_are_an_interface() -> None:
    code = "class C:\n    def f(self, a, b, c, d, e, f, g, h, i): ...\n    def _g(self, a, b, c, d, e, f, g, h, i): ..."
    assert long_functions(ast.parse(code), of_client=True) == ["C._g"]
