"""A knob is named where it is declared and where it is used. What only carries the parameters never names one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.params.transfer import TransferParams
from tests.architecture.sources import name_of, python_files

CARRIERS = ("service", "jobs", "worker")
KNOBS = frozenset(TransferParams.model_fields)


def names_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Everything by which a line can name a field: identifiers, attributes, keywords, and strings that index."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield name, line
            case ast.keyword(arg=str(name)):
                yield name, node.value.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, line
            case ast.Constant(value=str(name)):
                yield name, line


def knobs_named(source: str) -> list[str]:
    return [f"line {line}: {name}" for name, line in names_in(ast.parse(source)) if name in KNOBS]


@pytest.mark.parametrize("path", python_files(*CARRIERS), ids=name_of)
def test_carriers_name_no_knob(path: Path) -> None:
    assert knobs_named(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = request.params.guidance_scale",
        "guidance_scale = 2",
        "run(guidance_scale=2)",
        "def run(guidance_scale): ...",
        "x = params['guidance_scale']",
        "getattr(params, 'guidance_scale')",
        "match params:\n    case {'guidance_scale': x}: ...",
    ],
)
def test_the_rule_sees_every_way_to_name_one(line: str) -> None:
    assert len(knobs_named(line)) == 1
