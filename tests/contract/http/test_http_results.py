"""What a job has made: files, how they are written, and links that need no key."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from jobs.objects import ObjectStore
from jobs.schema import StoredFile
from service.errors import Problem
from service.settings import ServiceSettings
from service.signed_urls import SignedUrls
from tests.contract.http import player
from tests.contract.http.conftest import Stack, StartStack
from tests.contract.http.problems import problem
from tests.pictures import encoded, gradient


def without_key(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def finished(stack: Stack, **fields: Any) -> dict[str, Any]:
    record = stack.submitted(**fields)
    player.finish(stack, player.claim(stack))
    done: dict[str, Any] = stack.http.get(f"/v1/transfers/{record['id']}").json()
    return done


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_map_comes_as_numbers_and_as_a_picture(stack: Stack) -> None:
    done = finished(stack)
    wanted = {
        "matches": (player.MAP, "application/zip", f"plumage-{done['id']}-matches.npz"),
        "matches_picture": (player.PICTURE, "image/png", f"plumage-{done['id']}-matches.png"),
    }
    for name, (data, content_type, saved_as) in wanted.items():
        response = stack.http.get(done["urls"][name])
        assert (response.status_code, response.content) == (200, data)
        assert response.headers["Content-Type"] == content_type == done["result"][name]["content_type"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{saved_as}"'
        tag = response.headers["ETag"]
        assert tag == f'"{done["result"][name]["sha256"]}"'
        assert stack.http.get(done["urls"][name], headers={"If-None-Match": tag}).status_code == 304
        assert stack.http.get(done["result"][name]["url"]).content == data


def test_there_is_no_map_of_an_unfinished_job(stack: Stack) -> None:
    urls = stack.submitted()["urls"]
    problem(stack.http.get(urls["matches"]), 409, "not_finished")
    problem(stack.http.get(urls["matches_picture"]), 409, "not_finished")


# --- how the picture is written -------------------------------------------------------------------------------------


def test_the_output_is_part_of_the_record(stack: Stack) -> None:
    assert stack.submitted()["output"] == {
        "format": "png",
        "quality": None,
        "background": None,
        "color_profile": "srgb",
    }
    asked = '{"format": "jpeg", "quality": 80, "background": "#00ff00", "color_profile": "target"}'
    record = stack.submitted(target=encoded(gradient("RGBA")), output=asked)
    assert record["output"] == {
        "format": "jpeg",
        "quality": 80,
        "background": "#00ff00",
        "color_profile": "target",
    }
    assert player.claim(stack).record.spec.output.format == "png"
    assert player.claim(stack).record.spec.output.quality == 80


def test_a_transparent_jpeg_is_refused_unless_a_background_is_given(stack: Stack) -> None:
    transparent = encoded(gradient("RGBA"))
    refused = problem(stack.submit(target=transparent, output='{"format": "jpeg"}'), 422, "output_transparency")
    assert refused["errors"][0]["pointer"] == "/output/background"
    assert stack.inputs() == []
    assert stack.submit(output='{"format": "jpeg"}').status_code == 202
    assert stack.submit(target=transparent, output='{"format": "webp"}').status_code == 202


@pytest.mark.parametrize(
    ("output", "pointer"),
    [
        ('{"format": "gif"}', "/output/format"),
        ('{"quality": 50}', "/output"),
        ('{"format": "webp", "quality": 0}', "/output/quality"),
        ('{"format": "webp", "quality": "90"}', "/output/quality"),
        ('{"format": "webp", "background": "red"}', "/output/background"),
        ('{"fromat": "webp"}', "/output/fromat"),
        ("webp", "/output"),
    ],
)
def test_other_outputs_are_refused(stack: Stack, output: str, pointer: str) -> None:
    assert problem(stack.submit(output=output), 422, "invalid_request")["errors"][0]["pointer"] == pointer


# --- links ----------------------------------------------------------------------------------------------------------


def test_a_link_needs_no_key_and_dies_with_the_job(start_stack: StartStack) -> None:
    stack = start_stack(ServiceSettings(require_keys=True))
    token, _ = stack.keys.create("alice", ["submit", "read"])  # type: ignore[list-item]
    stack.http.headers["Authorization"] = f"Bearer {token}"
    done = finished(stack)
    link = str(stack.http.base_url.join(done["result"]["url"]))
    assert datetime.fromisoformat(done["result"]["url_expires_at"]) > datetime.now(UTC)
    answer = without_key(link)
    assert (answer.status_code, answer.content) == (200, player.PICTURE)
    assert answer.headers["Content-Type"] == "image/png"
    problem(without_key(str(stack.http.base_url.join(done["urls"]["result"]))), 401, "key_missing")
    assert stack.http.delete(done["urls"]["self"]).status_code == 204
    problem(without_key(link), 410, "job_gone")


def test_a_link_that_was_changed_is_refused(stack: Stack) -> None:
    done = finished(stack)
    picture, numbers = done["result"]["url"], done["result"]["matches"]["url"]
    claim, _, signature = picture.rpartition(".")
    for changed in (
        numbers.rpartition(".")[0] + "." + signature,
        claim + "." + signature[:-1],
        claim + "." + "0" * 64,
        claim + ".\N{PEACOCK}",
        claim,
        "/v1/files/x",
    ):
        problem(stack.http.get(changed), 403, "link_refused")


def test_a_link_says_when_it_ends_and_ends_then(objects: ObjectStore) -> None:
    now = [1_000_000.0]
    links = SignedUrls(objects, lambda: b"s" * 32, base_url="", ttl_s=100, clock=lambda: now[0])
    stored = StoredFile(key="results/t/j/1/image.png", content_type="image/png", bytes=1, sha256="0" * 64)
    file = links.file(stored)
    assert 100 <= file.url_expires_at.timestamp() - now[0] <= 200
    now[0] += 99
    assert links.file(stored) == file, "a record that does not change shows the same link"
    token = file.url.rsplit("/", 1)[1]
    now[0] = file.url_expires_at.timestamp() - 0.1
    assert links.key(token) == stored.key
    now[0] += 0.1
    with pytest.raises(Problem, match="not any more"):
        links.key(token)
    other = SignedUrls(objects, lambda: b"t" * 32, base_url="", ttl_s=100, clock=lambda: 0.0)
    with pytest.raises(Problem):
        other.key(token)


def test_links_survive_a_restart_and_start_with_the_public_address(start_stack: StartStack) -> None:
    first = start_stack(ServiceSettings(public_url="https://pictures.example/api/"))
    url = finished(first)["result"]["url"]
    assert url.startswith("https://pictures.example/api/v1/files/")
    second = start_stack()
    assert second.http.get(url.removeprefix("https://pictures.example/api")).content == player.PICTURE


def test_polling_stays_cheap(stack: Stack) -> None:
    url = finished(stack)["urls"]["self"]
    tag = stack.http.get(url).headers["ETag"]
    assert stack.http.get(url, headers={"If-None-Match": tag}).status_code == 304
