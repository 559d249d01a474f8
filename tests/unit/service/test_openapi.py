"""The committed document, and what every operation in it must have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.params.transfer import ParameterGroup, TransferParams
from jobs.schema import Status
from service.app import openapi_document
from service.errors import PROBLEMS
from service.openapi.document import REQUESTS
from service.schemas.batch_request import BatchRequest
from service.schemas.job import Transfer
from service.schemas.submission import TransferRequest
from service.submissions.inputs import require_parts, require_parts_of_each

GIVEN = {model.__name__ for model in REQUESTS} | {"Selection", "Region", "Output", "Webhook"}
GIVEN |= {"NamedPicture", "AssetPicture", "BatchJob"}
GIVEN |= {model.__name__ for model in ParameterGroup.__subclasses__()}
COMMITTED = Path(__file__).parents[3] / "openapi" / "openapi.json"


def _operations() -> Iterator[dict[str, Any]]:
    for operations in openapi_document()["paths"].values():
        yield from operations.values()


def _references(found: object) -> Iterator[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(found, list):
        for item in found:
            yield from _references(item)


def test_the_committed_document_is_that_of_the_app() -> None:
    expected = json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text("utf-8") == expected, "run `plumage openapi` and commit the result"


def test_it_does_not_depend_on_the_environment(monkeypatch: Any) -> None:
    before = openapi_document()
    monkeypatch.setenv("PLUMAGE_PUBLIC_URL", "https://plumage.example")
    monkeypatch.setenv("PLUMAGE_MAX_PICTURE_PIXELS", "1000")
    assert openapi_document() == before


def test_every_operation_is_named_and_described() -> None:
    for operation in _operations():
        assert operation["operationId"].isidentifier()
        assert operation["summary"]
        assert len(operation["description"]) > 30
        assert all(response["description"] for response in operation["responses"].values())
    names = [operation["operationId"] for operation in _operations()]
    assert len(names) == len(set(names))


def test_every_error_is_a_problem() -> None:
    for operation in _operations():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert set(response["content"]) == {"application/problem+json"}, (operation, status)


def test_no_reference_dangles_and_no_schema_is_unused() -> None:
    found = openapi_document()
    used = {reference.rpartition("/")[2] for reference in _references(found)}
    assert used == set(found["components"]["schemas"])


def test_answers_have_no_optional_fields() -> None:
    for name, schema in openapi_document()["components"]["schemas"].items():
        if name not in GIVEN and "properties" in schema:
            assert set(schema.get("required", [])) == set(schema["properties"]), name


def test_parameters_appear_with_their_bounds() -> None:
    schemas = openapi_document()["components"]["schemas"]
    declared = TransferParams.model_json_schema(ref_template="#/components/schemas/{model}")
    assert schemas["TransferParams"]["properties"] == declared["properties"]
    assert schemas["TransferParams"]["additionalProperties"] is False
    assert schemas["TransferForm"]["additionalProperties"] is False
    assert schemas["TransferForm"]["properties"]["seed"]["maximum"] == 2**63 - 1


def test_examples_are_answers() -> None:
    for example in openapi_document()["components"]["schemas"]["Transfer"]["examples"]:
        assert Transfer.model_validate(example).model_dump(mode="json") == example


def test_examples_of_submissions_have_what_they_name() -> None:
    schemas = openapi_document()["components"]["schemas"]
    for example in schemas["TransferRequest"]["examples"]:
        require_parts(TransferRequest.model_validate_json(json.dumps(example), strict=True))
    for example in schemas["BatchRequest"]["examples"]:
        require_parts_of_each(BatchRequest.model_validate_json(json.dumps(example), strict=True))


def test_a_form_takes_what_regions_name() -> None:
    for name in ("TransferForm", "MatchingForm"):
        patterns = openapi_document()["components"]["schemas"][name]["patternProperties"]
        for part in ("picture_leaf", "mask_left"):
            assert sum(re.search(pattern, part) is not None for pattern in patterns) == 1
        assert not any(re.search(pattern, part) for pattern in patterns for part in ("picture_", "mask_Left", "flie"))


def test_states_and_codes_are_those_of_the_code() -> None:
    schemas = openapi_document()["components"]["schemas"]
    assert schemas["Status"]["enum"] == [status.value for status in Status]
    assert schemas["ProblemDetails"]["properties"]["code"]["enum"] == sorted(PROBLEMS)
