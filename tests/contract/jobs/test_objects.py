"""One contract, each kind of store."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from jobs.errors import ObjectExists, ObjectNotFound, ObjectsUnavailable
from jobs.objects import ObjectStore, input_key, output_prefixes, preview_key, result_key
from jobs.settings import JobSettings

KEY = result_key("local", "job", 1, "image.png")
PNG = "image/png"


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """The URL of a bucket on an S3 server in this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    variables = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    with urlopen(Request(f"{endpoint}/plumage", method="PUT")) as created:
        assert created.status == 200
    patch = pytest.MonkeyPatch()
    for name, value in variables.items():
        patch.setenv(name, value)
    yield "s3://plumage/some/prefix"
    patch.undo()
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        url = request.getfixturevalue("s3_url")
        store = ObjectStore.from_settings(JobSettings(objects_url=url))
        for top in ("inputs/", "results/", "previews/"):
            store.delete_prefix(top)
        return store
    url = {"file": None, "memory": "memory://"}[request.param]
    return ObjectStore.from_settings(JobSettings(data_dir=tmp_path, objects_url=url))


def test_what_was_put_is_read(store: ObjectStore) -> None:
    assert not store.exists(KEY)
    store.put(KEY, b"\x00picture", PNG)
    assert store.exists(KEY)
    assert store.get(KEY) == b"\x00picture"


def test_an_object_is_written_once(store: ObjectStore) -> None:
    store.put(KEY, b"first", PNG)
    store.put(KEY, b"first", PNG)
    with pytest.raises(ObjectExists):
        store.put(KEY, b"second", PNG)
    assert store.get(KEY) == b"first"
    store.put(KEY, b"third", PNG, overwrite=True)
    assert store.get(KEY) == b"third"


def test_of_many_writers_one_wins(store: ObjectStore) -> None:
    lost = []

    def write(data: bytes) -> None:
        try:
            store.put(KEY, data, PNG)
        except ObjectExists:
            lost.append(data)

    writers = [threading.Thread(target=write, args=(str(i).encode() * 100_000,)) for i in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(lost) == 5
    winner = store.get(KEY)
    assert winner not in lost
    assert len(winner) == 100_000


def test_absent_objects(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound):
        store.get(KEY)
    store.delete(KEY)
    assert store.keys("results/local/job/") == []
    assert store.delete_prefix("results/local/job/") == 0


def test_a_prefix_ends_at_a_slash(store: ObjectStore) -> None:
    other = result_key("local", "job2", 1, "image.png")
    for key in (KEY, result_key("local", "job", 2, "matches.npz"), preview_key("local", "job", 1), other):
        store.put(key, b"x", PNG)
    results, previews = output_prefixes("local", "job")
    assert store.keys(results) == [KEY, result_key("local", "job", 2, "matches.npz")]
    assert store.delete_prefix(results) == 2
    assert store.delete_prefix(previews) == 1
    assert store.exists(other)


def test_more_objects_than_a_page(store: ObjectStore) -> None:
    keys = {input_key("local", "job", f"{i}.png") for i in range(510)}
    for key in keys:
        store.put(key, b"x", PNG)
    assert set(store.keys("inputs/local/job/")) == keys
    assert store.delete_prefix("inputs/local/job/") == 510
    assert store.keys("inputs/local/job/") == []


@pytest.mark.parametrize("store", ["file", "memory"], indirect=True)
def test_a_store_on_this_machine_does_not_sign(store: ObjectStore) -> None:
    store.put(KEY, b"x", PNG)
    assert store.signed_url(KEY, 60) is None


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_signed_url_reads_one_object(store: ObjectStore) -> None:
    store.put(KEY, b"picture", PNG)
    url = store.signed_url(KEY, 60)
    assert url is not None
    with urlopen(url) as answer:
        assert answer.read() == b"picture"
        assert answer.headers["Content-Type"] == PNG


def test_a_local_folder_is_left_clean(tmp_path: Path) -> None:
    store = ObjectStore.from_settings(JobSettings(data_dir=tmp_path))
    store.put(KEY, b"x", PNG)
    # What a process killed inside a write leaves behind.
    (tmp_path / "objects" / f"{KEY}#1").write_bytes(b"half")
    assert store.keys("results/local/job/") == [KEY]
    store.delete_prefix("results/local/job/")
    assert list((tmp_path / "objects/results/local").iterdir()) == []


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20#ü"
    store = ObjectStore.from_settings(JobSettings(objects_url=folder.as_uri()))
    store.put(KEY, b"x", PNG)
    assert (folder / KEY).read_bytes() == b"x"


@pytest.mark.parametrize("url", ["ftp://host/x", "relative/folder", "file:///", "file://host/x", "https://host/x"])
def test_an_unknown_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no object store"):
        ObjectStore.from_settings(JobSettings(objects_url=url))


def test_a_failing_store_is_unavailable(tmp_path: Path) -> None:
    store = ObjectStore.from_settings(JobSettings(data_dir=tmp_path))
    (tmp_path / "objects" / "results").write_bytes(b"a file where a folder is needed")
    with pytest.raises(ObjectsUnavailable):
        store.put(KEY, b"x", PNG)


def test_a_link_names_the_address_that_clients_know(s3_url: str) -> None:
    """The same server under another name, as behind a proxy."""
    inside = os.environ["AWS_ENDPOINT_URL"]
    outside = inside.replace("127.0.0.1", "localhost")
    store = ObjectStore.from_settings(JobSettings(objects_url=s3_url, objects_public_endpoint=outside))
    store.put(KEY, b"data", PNG, overwrite=True)
    url = store.signed_url(KEY, 60)
    assert url is not None
    assert url.startswith(f"{outside}/plumage/some/prefix/{KEY}?")
    with urlopen(url) as answer:
        assert answer.read() == b"data"


def test_a_public_endpoint_of_a_folder_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PLUMAGE_OBJECTS_PUBLIC_ENDPOINT"):
        ObjectStore.from_settings(JobSettings(data_dir=tmp_path, objects_public_endpoint="https://pictures.example"))
