"""Photographs as phones send them, through the real app, its real decoders and a real worker. The service keeps few
pixels here, so that small pictures are large ones."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageCms
from redis import Redis

from jobs.settings import JobSettings
from service.settings import ServiceSettings
from tests.contract.http.conftest import REFERENCE, Stack, serving
from tests.contract.http.problems import problem
from tests.contract.http.real_worker import make_context
from tests.contract.worker.test_tasks import sleepless
from tests.pictures import DISPLAY_P3, decoded, encoded, gradient, heic, pixel
from uploads.profiles import bare_rgb_profile
from worker.context import WorkerContext
from worker.tasks import run_next

SENT, USED = (160, 120), (115, 86)
PHOTOGRAPH = encoded(gradient(size=SENT), "JPEG", quality=95)
SCALED = {"width": 115, "height": 86, "scaled_from": {"width": 160, "height": 120}}


@pytest.fixture
def stack(redis: Redis, job_settings: JobSettings) -> Iterator[Stack]:
    with serving(ServiceSettings(max_picture_pixels=10_000), job_settings) as stack:
        yield stack


@pytest.fixture
def worker(stack: Stack, job_settings: JobSettings) -> WorkerContext:
    return replace(make_context(stack, job_settings), transfer=sleepless())


def mask(size: tuple[int, int]) -> bytes:
    image = Image.new("L", size, 0)
    image.paste(255, (0, 0, size[0] // 2, size[1]))
    return encoded(image)


def finished(stack: Stack, worker: WorkerContext, record: dict[str, Any]) -> dict[str, Any]:
    run_next(worker)
    found: dict[str, Any] = stack.http.get(record["urls"]["self"]).json()
    assert found["status"] == "succeeded", found
    return found


def test_a_large_photograph_is_scaled_and_the_record_says_so(stack: Stack, worker: WorkerContext) -> None:
    record = stack.submitted(target=PHOTOGRAPH, target_mask=mask(SENT))
    same = {"width": 48, "height": 32, "scaled_from": None}
    assert record["inputs"] == {"target": SCALED, "reference": same}
    sizes = {key.rsplit("/", 1)[1]: decoded(stack.objects.get(key)).size for key in stack.inputs()}
    assert sizes == {"target.png": USED, "target_mask.png": USED, "reference.png": (48, 32)}
    done = finished(stack, worker, record)
    assert (done["result"]["width"], done["result"]["height"]) == USED
    assert done["inputs"]["target"] == SCALED
    assert decoded(stack.http.get(done["result"]["url"]).content).size == USED


def test_the_dry_run_says_so_too(stack: Stack) -> None:
    parts = {"target": ("a.jpg", PHOTOGRAPH), "reference": ("b.jpg", REFERENCE)}
    found = stack.http.post("/v1/dry_run/transfers", files=parts).json()
    assert found["inputs"]["target"] == SCALED
    assert (found["width"], found["height"]) == USED


def test_a_mask_has_the_size_that_was_sent_or_that_is_used(stack: Stack) -> None:
    for size in (SENT, USED):
        stack.submitted(target=PHOTOGRAPH, target_mask=mask(size))
        stack.submitted(reference=PHOTOGRAPH, reference_mask=mask(size))
    wrong = problem(stack.submit(target=PHOTOGRAPH, target_mask=mask((120, 160))), 422, "mask_size_mismatch")
    assert wrong["errors"][0]["pointer"] == "/target_mask"
    problem(stack.submit(target_mask=mask(SENT)), 422, "image_too_many_pixels")
    problem(stack.submit(target_mask=mask((96, 64))), 422, "mask_size_mismatch")


def test_a_retry_keeps_what_is_known_of_the_sizes(stack: Stack) -> None:
    record = stack.submitted(target=PHOTOGRAPH)
    stack.http.post(record["urls"]["cancel"])
    again = stack.http.post(f"{record['urls']['self']}/retry")
    assert again.status_code == 202, again.text
    assert again.json()["inputs"]["target"] == SCALED


def test_an_asset_says_what_it_was_and_so_do_its_jobs(stack: Stack) -> None:
    asset = stack.http.post("/v1/assets", files={"file": ("a.jpg", PHOTOGRAPH)}).json()
    assert {name: asset[name] for name in ("width", "height", "scaled_from")} == SCALED
    masked = stack.http.post("/v1/assets", files={"file": ("m.png", mask(USED))}).json()
    named = {"target": {"asset": asset["id"]}, "reference": {"asset": asset["id"]}}
    record = stack.http.post("/v1/transfers", json={**named, "target_mask": {"asset": masked["id"]}})
    assert record.status_code == 202, record.text
    assert record.json()["inputs"] == {"target": SCALED, "reference": SCALED}
    batch = stack.http.post("/v1/batches", json={"items": [{"custom_id": "a", **named}]})
    assert batch.status_code == 202, batch.text
    item = stack.http.get(batch.json()["urls"]["items"]).json()["items"][0]
    assert stack.http.get(item["url"]).json()["inputs"]["target"] == SCALED


def test_other_formats_with_too_many_pixels_are_refused_as_before(stack: Stack) -> None:
    for kind in ("PNG", "WEBP", "AVIF"):
        data = encoded(gradient(size=SENT), kind)
        problem(stack.submit(target=data), 422, "image_too_many_pixels")


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_heic_and_avif_are_pictures_like_others(stack: Stack, worker: WorkerContext, kind: str) -> None:
    if kind == "HEIF":
        data, mask_data = heic("display-p3"), heic("l")
    else:
        data, mask_data = encoded(gradient(), kind, icc_profile=DISPLAY_P3), encoded(gradient("L"), kind)
    record = stack.submitted(target=data, reference=data, target_mask=mask_data)
    done = finished(stack, worker, record)
    assert (done["result"]["width"], done["result"]["height"]) == (48, 32)


# --- colours --------------------------------------------------------------------------------------------------------


def fetched(stack: Stack, done: dict[str, Any]) -> Image.Image:
    image = Image.open(io.BytesIO(stack.http.get(done["result"]["url"]).content))
    image.load()
    return image


P3 = encoded(gradient(), icc_profile=DISPLAY_P3)
TARGETS_OWN = '{"color_profile": "target"}'


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_targets_profile_is_kept_on_request(stack: Stack, worker: WorkerContext, kind: str) -> None:
    record = stack.submitted(target=P3, output=f'{{"format": "{kind}", "color_profile": "target"}}')
    assert record["output"]["color_profile"] == "target"
    done = finished(stack, worker, record)
    assert done["result"]["color_profile"] == "target"
    image = fetched(stack, done)
    assert image.info["icc_profile"] == bare_rgb_profile(DISPLAY_P3)
    if kind == "png":
        assert image.tobytes() == gradient().tobytes()


def test_srgb_is_what_comes_without_a_request(stack: Stack, worker: WorkerContext) -> None:
    done = finished(stack, worker, stack.submitted(target=P3))
    assert (done["output"]["color_profile"], done["result"]["color_profile"]) == ("srgb", "srgb")
    image = fetched(stack, done)
    assert "icc_profile" not in image.info
    assert pixel(image, 4, 4)[0] > 230


def test_a_target_without_a_profile_of_its_own_gives_srgb(stack: Stack, worker: WorkerContext) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for target in (encoded(gradient()), encoded(gradient(), icc_profile=srgb), encoded(gradient("CMYK"), "JPEG")):
        done = finished(stack, worker, stack.submitted(target=target, output=TARGETS_OWN))
        assert done["result"]["color_profile"] == "srgb"
        assert "icc_profile" not in fetched(stack, done).info


def test_assets_serve_both(stack: Stack, worker: WorkerContext) -> None:
    asset = stack.http.post("/v1/assets", files={"file": ("a.png", P3)}).json()
    named = {"target": {"asset": asset["id"]}, "reference": {"asset": asset["id"]}}
    own = stack.http.post("/v1/transfers", json={**named, "output": {"color_profile": "target"}}).json()
    assert fetched(stack, finished(stack, worker, own)).tobytes() == gradient().tobytes()
    plain = stack.http.post("/v1/transfers", json=named).json()
    image = fetched(stack, finished(stack, worker, plain))
    assert "icc_profile" not in image.info
    assert pixel(image, 4, 4)[0] > 230


# --- the mark -------------------------------------------------------------------------------------------------------


def test_results_are_marked_unless_the_operator_switches_it_off(stack: Stack, worker: WorkerContext) -> None:
    done = finished(stack, worker, stack.submitted())
    assert b"compositeWithTrainedAlgorithmicMedia" in stack.http.get(done["result"]["url"]).content
    unmarked = replace(worker, settings=worker.settings.model_copy(update={"mark_results": False}))
    done = finished(stack, unmarked, stack.submitted())
    assert b"compositeWith" not in stack.http.get(done["result"]["url"]).content
