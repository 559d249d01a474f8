"""A parameter is named where it is declared and where it is used. What only carries the parameters never names one."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from core.params.transfer import TransferParams
from tests.architecture.sources import name_of, python_files

CARRIERS = ("service", "jobs", "worker", "uploads")
OWN_WORDS = frozenset({"masks", "matching", "output"})
"""Groups whose names mean something to carriers too: uploaded masks, a kind of job, the format of a result. Of these,
what counts is to read one from parameters."""


def groups() -> dict[str, frozenset[str]]:
    """The parameters of every group."""
    kinds = {name: (of.annotation, *get_args(of.annotation)) for name, of in TransferParams.model_fields.items()}
    return {
        name: frozenset(kind.model_fields)
        for name, alternatives in kinds.items()
        for kind in alternatives
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


GROUPS = groups()
TOP = frozenset(TransferParams.model_fields)
DISTINCTIVE = (TOP - OWN_WORDS) | {name for fields in GROUPS.values() for name in fields if "_" in name}
"""Names that nothing but a parameter has. In a group, `mode` or `range` are words of everybody."""
PATHS = frozenset(f"{group}.{name}" for group, fields in GROUPS.items() for name in fields)


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


def read_from_params(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What is read from parameters or given to them, whatever it is called."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=of, attr=name) if _is_params(of) and name in TOP:
                yield name, node.lineno
            case ast.Attribute(value=ast.Attribute(attr=group) | ast.Name(id=group), attr=name):
                if group in OWN_WORDS and name in GROUPS[group] - DISTINCTIVE:
                    yield f"{group}.{name}", node.lineno
            case ast.Subscript(value=of, slice=ast.Constant(value=str(name))) if _is_params(of) and name in TOP:
                yield name, node.lineno
            case ast.Call(func=ast.Name(id="getattr"), args=[of, ast.Constant(value=str(name)), *_]):
                if _is_params(of) and name in TOP:
                    yield name, node.lineno
            case ast.Call(func=ast.Name(id="TransferParams") | ast.Attribute(value=ast.Name(id="TransferParams"))):
                yield from ((name, line) for name, line in names_in(node) if name in TOP)


def _is_params(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name == "params" or name.endswith("_params")
    return False


def parameters_named(source: str) -> list[str]:
    tree = ast.parse(source)
    named = {(line, name) for name, line in names_in(tree) if name in DISTINCTIVE | PATHS}
    named |= {(line, name) for name, line in read_from_params(tree)}
    return [f"line {line}: {name}" for line, name in sorted(named)]


@pytest.mark.parametrize("path", python_files(*CARRIERS), ids=name_of)
def test_carriers_name_no_parameter(path: Path) -> None:
    assert parameters_named(path.read_text()) == []


def test_parameters_lie_in_groups() -> None:
    assert len(GROUPS) > 5
    assert set(GROUPS) >= OWN_WORDS


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
        "run(ensemble_size=2)",
        "x = group['ensemble_size']",
        "x = 'matching.source'",
        "x = spec.params.masks",
        "x = form.params['masks']",
        "x = getattr(spec.params, 'masks')",
        "x = TransferParams(masks=masks_given)",
        "x = TransferParams.model_validate({'masks': {}})",
        "x = matching.source",
        "x = chosen.masks.mode",
    ],
)
def test_the_rule_sees_every_way_to_name_one(line: str) -> None:
    assert len(parameters_named(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "x = spec.params.needed_models",
        "x = form.params.resolved().model_dump(mode='json')",
        "x = result.masks.target",
        "x = spec.output.format",
        "run(mode='w', range=(0, 1))",
    ],
)
def test_the_rule_lets_carriers_carry(line: str) -> None:
    assert parameters_named(line) == []
