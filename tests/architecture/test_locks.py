"""Lock files: complete, hashed, free of torch, and the images' parts of the one that is tested."""

import re
from collections.abc import Iterator

import pytest

from tests.architecture.sources import ROOT

LOCKS = ("requirements.lock", "requirements-api.lock", "requirements-worker.lock")


def entries(name: str) -> Iterator[tuple[str, int]]:
    """(requirement with version and marker, number of hashes)."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        requirement, *hashes = line.split(" --hash=")
        yield " ".join(requirement.split()), len(hashes)


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_pinned_and_hashed(name: str) -> None:
    found = list(entries(name))
    assert len(found) > 20
    for requirement, hashes in found:
        assert re.match(r"^[a-z0-9][a-z0-9._-]*==[0-9][\w.+!]*( ; .+)?$", requirement), requirement
        assert hashes > 0, requirement


@pytest.mark.parametrize("name", LOCKS)
def test_torch_and_its_cuda_libraries_are_left_to_pip(name: str) -> None:
    assert [r for r, _ in entries(name) if re.match(r"(torch|triton|nvidia-.*|cuda-.*)==", r)] == []


@pytest.mark.parametrize("name", LOCKS[1:])
def test_an_image_gets_the_versions_that_were_tested(name: str) -> None:
    tested = {requirement.partition(" ;")[0] for requirement, _ in entries("requirements.lock")}
    assert {requirement.partition(" ;")[0] for requirement, _ in entries(name)} <= tested


@pytest.mark.parametrize("name", LOCKS[1:])
def test_no_image_gets_the_heic_decoder(name: str) -> None:
    """Its wheels hold x265, which is GPL-2: who runs the service adds it."""
    assert not [requirement for requirement, _ in entries(name) if "heif" in requirement]
    assert [requirement for requirement, _ in entries(LOCKS[0]) if requirement.startswith("pillow-heif==")]


def test_the_api_image_gets_no_machine_learning() -> None:
    names = {requirement.partition("==")[0] for requirement, _ in entries("requirements-api.lock")}
    assert names.isdisjoint({"diffusers", "transformers", "safetensors", "accelerate", "scipy", "pytest"})
