"""Every refusal of a submission: its status, code and pointer, and that nothing is stored or queued."""

import json
from typing import Any

import pytest
from PIL import Image

from service.settings import ServiceSettings
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.contract.http.problems import problem
from tests.pictures import SIZE, encoded, gradient, raw_png

ANIMATED = encoded(gradient(), save_all=True, append_images=[gradient().transpose(Image.Transpose.ROTATE_180)])
HALF_JPEG = encoded(Image.effect_noise((256, 256), 80).convert("RGB"), "JPEG")[:9000]
BOMB = raw_png((13_000, 13_000), 1, 0, b"\0" * (1 + 13_000 // 8) * 13_000)


def assert_untouched(stack: Stack) -> None:
    assert stack.inputs() == []
    assert stack.store.list_jobs(tenant="local").items == []


@pytest.mark.parametrize("name", ["target", "reference"])
@pytest.mark.parametrize(
    ("picture", "status", "code"),
    [
        (b"hello", 415, "image_type_unsupported"),
        (encoded(gradient(), "GIF"), 415, "image_type_unsupported"),
        (b"\x89PNG\r\n\x1a\nnonsense", 422, "image_unreadable"),
        (HALF_JPEG, 422, "image_unreadable"),
        (ANIMATED, 422, "image_animated"),
        (BOMB, 422, "image_too_many_pixels"),
        (encoded(Image.new("1", (8200, 600))), 422, "image_too_large_side"),
        (encoded(gradient(size=(8, 8))), 422, "image_too_small"),
        (encoded(gradient(size=(400, 16))), 422, "image_too_narrow"),
    ],
)
def test_pictures_that_cannot_be_used(stack: Stack, name: str, picture: bytes, status: int, code: str) -> None:
    body = problem(stack.submit(**{name: picture}), status, code)
    assert [(error["pointer"], error["code"]) for error in body["errors"]] == [(f"/{name}", code)]
    assert_untouched(stack)


def test_an_empty_file_is_not_an_absent_one(stack: Stack) -> None:
    parts = [("target", ("a.png", b"")), ("reference", ("b", REFERENCE))]
    body = problem(stack.http.post("/v1/transfers", files=parts), 422, "image_empty")
    assert body["errors"][0]["pointer"] == "/target"


def test_all_bad_pictures_are_named_at_once(stack: Stack) -> None:
    body = problem(stack.submit(target=ANIMATED, reference=b"hello"), 422, "image_animated")
    assert [error["pointer"] for error in body["errors"]] == ["/target", "/reference"]


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (encoded(Image.new("L", (SIZE[0], SIZE[1] + 1), 255)), "mask_size_mismatch"),
        (encoded(Image.new("L", SIZE, 0)), "mask_empty"),
        (HALF_JPEG, "image_unreadable"),
    ],
)
@pytest.mark.parametrize("name", ["target_mask", "reference_mask"])
def test_masks_that_cannot_be_used(stack: Stack, name: str, mask: bytes, code: str) -> None:
    body = problem(stack.submit(**{name: mask}), 422, code)
    assert body["errors"][0]["pointer"] == f"/{name}"
    assert_untouched(stack)


def test_too_many_bytes_of_one_picture(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(max_picture_bytes=2000))
    noise = encoded(Image.effect_noise((64, 64), 80))
    assert len(noise) > 2000
    problem(stack.submit(target=noise), 413, "image_too_many_bytes")
    assert_untouched(stack)


def test_too_many_bytes_of_the_whole_body(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(max_body_bytes=50_000))
    problem(stack.submit(target=TARGET + b"\0" * 50_000), 413, "body_too_large")
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    head = b'--x\r\nContent-Disposition: form-data; name="target"; filename="a"\r\n\r\n'
    chunked = iter([head, *[b"a" * 1000] * 100])  # no Content-Length tells how much there will be
    problem(stack.http.post("/v1/transfers", content=chunked, headers=headers), 413, "body_too_large")
    assert_untouched(stack)
    assert stack.submit().status_code == 202


# --- fields ---


def _params(value: Any) -> dict[str, Any]:
    return {"params": value if isinstance(value, str) else json.dumps(value)}


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"target": None}, "/target", "missing"),
        ({"reference": None}, "/reference", "missing"),
        ({"target": "text"}, "/target", "file_expected"),
        ({"target_mask": "text"}, "/target_mask", "file_expected"),
        ({"prompt": b"a file"}, "/prompt", "string_type"),
        ({"seed": -1}, "/seed", "greater_than_equal"),
        ({"seed": 2**63}, "/seed", "less_than_equal"),
        ({"seed": "often"}, "/seed", "int_parsing"),
        ({"seed": "9" * 5000}, "/seed", "int_parsing_size"),
        ({"prompt": "x" * 2001}, "/prompt", "string_too_long"),
        ({"negative_prompt": "x" * 2001}, "/negative_prompt", "string_too_long"),
        ({"colour": "blue"}, "/colour", "extra_forbidden"),
        ({"a/b~c": "blue"}, "/a~1b~0c", "extra_forbidden"),
        (_params({"guidance_scale": 99}), "/params/guidance_scale", "less_than_equal"),
        (_params({"num_inference_steps": 1}), "/params/num_inference_steps", "greater_than_equal"),
        (_params({"num_inference_steps": 2.5}), "/params/num_inference_steps", "int_type"),
        (_params({"num_inference_steps": "30"}), "/params/num_inference_steps", "int_type"),
        (_params({"num_inference_steps": True}), "/params/num_inference_steps", "int_type"),
        (_params({"eta": None}), "/params/eta", "float_type"),
        (_params({"guidence_scale": 2}), "/params/guidence_scale", "extra_forbidden"),
        (_params({"injection": {"layers": ["nowhere"]}}), "/params/injection/layers/0", "string_pattern_mismatch"),
        (_params({"injection": {"range": [0.1, 2]}}), "/params/injection/range/1", "less_than_equal"),
        (_params({"injection": {"range": [0.1, 0.5]}}), "/params/injection/range", "value_error"),
        (_params({"matching": {"ensemble_size": 0}}), "/params/matching/ensemble_size", "greater_than_equal"),
        (_params({"matching": {"ensemble": 8}}), "/params/matching/ensemble", "extra_forbidden"),
        (_params({"matching": 8}), "/params/matching", "model_type"),
        (_params({"matching": None}), "/params/matching", "model_type"),
        (_params({"matching.ensemble_size": 8}), "/params/matching.ensemble_size", "extra_forbidden"),
        (_params({"preset": "paper", "matching": {"parts": ["a", "b"]}}), "/params/matching", "preset_mismatch"),
        (_params("{nonsense"), "/params", "json_invalid"),
        (_params("[1]"), "/params", "json_object_expected"),
        (_params("null"), "/params", "json_object_expected"),
        (_params('{"eta": NaN}'), "/params", "json_invalid"),
        (_params('{"eta": -Infinity}'), "/params", "json_invalid"),
        (_params('{"eta": 1e999}'), "/params/eta", "less_than_equal"),
        (_params('{"eta": 0.5, "eta": 0.5}'), "/params", "duplicate_key"),
        (_params('{"\\ud800": 1, "\\ud800": 1}'), "/params", "duplicate_key"),
        (_params('{"\\ud800": 1}'), "/params", "json_invalid"),
        (_params("[" * 30_000), "/params", "json_invalid"),
        (_params('{"eta": ' + "9" * 5000 + "}"), "/params", "json_invalid"),
        (_params('{"a":' * 5000 + "1" + "}" * 5000), "/params", "json_invalid"),
    ],
)
def test_fields_that_cannot_be_used(stack: Stack, fields: dict[str, Any], pointer: str, code: str) -> None:
    body = problem(stack.submit(**fields), 422, "invalid_request")
    assert [(error["pointer"], error["code"]) for error in body["errors"]] == [(pointer, code)]
    assert body["errors"][0]["message"]
    assert pointer in body["detail"]
    assert_untouched(stack)


def test_every_wrong_field_is_named(stack: Stack) -> None:
    fields = {"target": None, "seed": -1, "params": '{"eta": 9, "num_inference_steps": 0}'}
    body = problem(stack.submit(**fields), 422, "invalid_request")
    pointers = {error["pointer"] for error in body["errors"]}
    assert pointers == {"/target", "/seed", "/params/eta", "/params/num_inference_steps"}


@pytest.mark.parametrize("name", ["target", "params", "seed"])
def test_a_field_given_twice_is_refused(stack: Stack, name: str) -> None:
    parts: list[tuple[str, Any]] = [("target", ("a", TARGET)), ("reference", ("b", REFERENCE))]
    again = [(name, ("a", TARGET))] if name == "target" else [(name, (None, "1")), (name, (None, "1"))]
    body = problem(stack.http.post("/v1/transfers", files=parts + again), 422, "invalid_request")
    assert body["errors"] == [
        {"pointer": f"/{name}", "code": "duplicate_field", "message": "This field is given twice."}
    ]
    assert_untouched(stack)


@pytest.mark.parametrize(
    "request_body",
    [{"data": {"target": "x"}}, {"content": b"x"}, {"content": b"{}", "headers": {"Content-Type": "text/json"}}, {}],
    ids=["urlencoded", "bytes", "nearly json", "nothing"],
)
def test_other_content_types(stack: Stack, request_body: dict[str, Any]) -> None:
    problem(stack.http.post("/v1/transfers", **request_body), 415, "unsupported_media_type")


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "unicode_escape", "idna", "nonsense", '"utf-8\\""'])
def test_other_encodings_of_text(stack: Stack, charset: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="+2AA-\\ud800"\r\n\r\n+2AA-\\ud800\r\n--x--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    problem(stack.http.post("/v1/transfers", content=body, headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x; charset=UTF-8", "Multipart/Form-Data;boundary=x"]
)
def test_spellings_of_the_content_type(stack: Stack, content_type: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--x--\r\n'
    answer = problem(
        stack.http.post("/v1/transfers", content=body, headers={"Content-Type": content_type}), 422, "invalid_request"
    )
    assert {error["pointer"] for error in answer["errors"]} == {"/target", "/reference"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"not a multipart body"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno disposition\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % i for i in range(40)),
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + b"x" * 70_000 + b"\r\n--x--\r\n",
        ),
    ],
    ids=["no boundary", "no part", "no name", "too many fields", "too long a field"],
)
def test_bodies_that_cannot_be_parsed(stack: Stack, content_type: str, body: bytes) -> None:
    response = stack.http.post("/v1/transfers", content=body, headers={"Content-Type": content_type})
    problem(response, 400, "malformed_body")
    assert_untouched(stack)
