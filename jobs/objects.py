"""Pictures and matches as objects: a local folder, memory, S3, GCS or Azure, chosen by URL.

    inputs/<tenant>/<job>/target.png …                  written once at admission
    results/<tenant>/<job>/<attempt>/image.png …        written once by the attempt of that number
    results/<tenant>/<job>/<attempt>/image-<seed>.png … the same of a further seed
    previews/<tenant>/<job>/<attempt>.jpg               overwritten while the attempt runs
    assets/<tenant>/<sha256>/<copy>.png                 written once at its upload

The inputs of a batch lie under the batch's id, in a job's place.

A write is atomic in all of these stores: an object is whole or not there. Its SHA-256 is stored with it where the
store keeps attributes (a local folder does not), and every read is checked against it.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, PreconditionError
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store, from_url

from jobs.errors import ObjectCorrupt, ObjectExists, ObjectNotFound, ObjectsUnavailable
from jobs.settings import JobSettings

_Backend = AzureStore | GCSStore | LocalStore | MemoryStore | S3Store
_PAGE = 500
_SHA256 = "sha256"
_READS = 3
_PAUSES_S = (0.2, 0.5, 1.0)
_LONGEST_REASON = 500
_ANSWER_S = 2.0

T = TypeVar("T")
log = structlog.get_logger()


def input_key(tenant: str, job_id: str, name: str) -> str:
    return f"inputs/{tenant}/{job_id}/{name}"


def result_key(tenant: str, job_id: str, attempt: int, name: str) -> str:
    return f"results/{tenant}/{job_id}/{attempt}/{name}"


def preview_key(tenant: str, job_id: str, attempt: int) -> str:
    return f"previews/{tenant}/{job_id}/{attempt}.jpg"


def asset_key(tenant: str, asset_id: str, copy_id: str) -> str:
    return f"assets/{tenant}/{asset_id}/{copy_id}.png"


def owner_of(key: str) -> tuple[str, str]:
    """(tenant, job id) of an input, a result or a preview."""
    _, tenant, job_id, *_ = key.split("/")
    return tenant, job_id


def download_name(key: str) -> str:
    """Name under which a result is saved: plumage-<job>.png, plumage-<job>-<seed>.png, plumage-<job>-matches.npz …"""
    name = key.rsplit("/", 1)[1]
    rest = name.removeprefix("image") if name.startswith(("image.", "image-")) else f"-{name}"
    return f"plumage-{owner_of(key)[1]}{rest}"


def attachment(key: str) -> str:
    """Content-Disposition of a result."""
    return f'attachment; filename="{download_name(key)}"'


def output_prefixes(tenant: str, job_id: str) -> tuple[str, str]:
    """Under these lies everything that attempts at a job wrote."""
    return f"results/{tenant}/{job_id}/", f"previews/{tenant}/{job_id}/"


def all_prefixes(tenant: str, job_id: str) -> tuple[str, ...]:
    """Under these lies everything that belongs to a job."""
    return input_prefix(tenant, job_id), *output_prefixes(tenant, job_id)


def input_prefix(tenant: str, job_id: str) -> str:
    return f"inputs/{tenant}/{job_id}/"


class ObjectStore:
    """Safe to share between threads. Keys are built by the functions of this module.

    Every method raises ObjectsUnavailable when the store fails or does not answer within its retries.
    """

    def __init__(self, backend: _Backend, impatient: _Backend, signer: _Backend, patience_s: float) -> None:
        self._backend = backend
        self._impatient = impatient
        self._signer = signer
        self._patience_s = patience_s

    @classmethod
    def from_settings(cls, settings: JobSettings, *, patience_s: float | None = None) -> Self:
        """`patience_s` is how long a store that fails is tried again, and how long it may take to accept a connection;
        by default as long as a transfer of bytes may last.

        Raises ValueError for a URL that names no known store, and for a public endpoint of one that is not S3.
        """
        folder = (settings.data_dir / "objects").absolute()
        within_s = settings.objects_timeout_s
        patience_s = min(within_s, patience_s or within_s)
        url = settings.objects_url or folder.as_uri()
        backend = _open(url, within_s / 2, patience_s)
        impatient = signer = backend
        if isinstance(backend, S3Store | GCSStore | AzureStore):
            answer_s = min(_ANSWER_S, within_s / 2)
            impatient = _open(url, answer_s, min(answer_s, patience_s))
        if settings.objects_public_endpoint is not None:
            signer = _open(url, within_s / 2, patience_s, endpoint=settings.objects_public_endpoint)
        return cls(backend, impatient, signer, patience_s)

    def require_answer(self, key: str) -> None:
        """Asks for an object that need not be there; any answer will do.

        A store that takes connections and does not answer is given up after 2 s. That is too short for a transfer of
        bytes, so this is asked before one that somebody waits for.
        """
        with suppress(ObjectNotFound), _store_errors(key), suppress(PermissionDeniedError):
            obstore.head(self._impatient, key)

    def put(self, key: str, data: bytes, content_type: str, *, overwrite: bool = False) -> None:
        """Without `overwrite` the same bytes may be put again; other bytes raise ObjectExists."""
        # The local folder keeps no attributes; there the service knows the type by the key's suffix.
        local = isinstance(self._backend, LocalStore)
        digest = hashlib.sha256(data).hexdigest()
        attributes = None if local else {"Content-Type": content_type, _SHA256: digest}
        if attributes and key.startswith("results/"):
            attributes["Content-Disposition"] = attachment(key)  # for whoever follows a signed link
        try:
            self._retried(key, lambda: self._write(key, data, attributes, overwrite))
        except ObjectExists:
            # A write whose answer was lost is tried again by the client, and then finds its own object.
            if self.get(key) != data:
                raise

    def _write(self, key: str, data: bytes, attributes: dict[str, str] | None, overwrite: bool) -> None:
        mode = "overwrite" if overwrite else "create"
        obstore.put(self._backend, key, data, attributes=attributes, mode=mode)  # type: ignore[arg-type]

    def _retried(self, key: str, act: Callable[[], T]) -> T:
        """The result of `act`, tried again when a remote store fails: the client library does not repeat what may have
        changed something, or what broke off. No try begins after `patience_s`."""
        begun = time.monotonic()
        pauses_s = iter(() if isinstance(self._backend, LocalStore) else _PAUSES_S)
        while True:
            try:
                with _store_errors(key):
                    return act()
            except ObjectsUnavailable:
                pause_s = next(pauses_s, None)
                if pause_s is None or time.monotonic() - begun + pause_s > self._patience_s:
                    raise
            time.sleep(pause_s)

    def get(self, key: str) -> bytes:
        """Raises ObjectNotFound, and ObjectCorrupt when other bytes come than were written, also when asked again."""
        for _ in range(_READS):
            data, written = self._retried(key, lambda: self._read(key))
            if written is None or written == hashlib.sha256(data).hexdigest():
                return data
            log.error("object.corrupt", key=key, bytes=len(data))
        raise ObjectCorrupt("A stored picture is damaged.")

    def _read(self, key: str) -> tuple[bytes, str | None]:
        found = obstore.get(self._backend, key)
        return bytes(found.bytes()), found.attributes.get(_SHA256)

    def exists(self, key: str) -> bool:
        try:
            with _store_errors(key):
                obstore.head(self._backend, key)
        except ObjectNotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        """A key that is not there is no error."""
        try:
            with _store_errors(key):
                obstore.delete(self._backend, key)
        except ObjectNotFound:
            return

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects under a prefix that ends with '/', sorted."""
        assert prefix.endswith("/"), prefix
        with _store_errors(prefix):
            pages = obstore.list(self._backend, prefix, chunk_size=_PAGE)
            return sorted(found["path"] for page in pages for found in page)

    def delete_prefix(self, prefix: str) -> int:
        """Returns how many objects it deleted."""
        found = self.keys(prefix)
        for start in range(0, len(found), _PAGE):
            with _store_errors(prefix):
                obstore.delete(self._backend, found[start : start + _PAGE])
        if isinstance(self._backend, LocalStore) and self._backend.prefix is not None:
            # Empty folders, and what a killed process had staged and never renamed, are not listed.
            shutil.rmtree(Path(self._backend.prefix) / prefix, ignore_errors=True)
        return len(found)

    def signed_url(self, key: str, ttl_s: float) -> str | None:
        """A URL with which anybody can read the object for `ttl_s`; None where the store cannot sign."""
        if isinstance(self._signer, LocalStore | MemoryStore):
            return None
        with _store_errors(key):
            return obstore.sign(self._signer, "GET", key, timedelta(seconds=ttl_s))


def _open(url: str, request_s: float, patience_s: float, endpoint: str | None = None) -> _Backend:
    parts = urlsplit(url)
    if endpoint is not None and parts.scheme != "s3":
        raise ValueError("PLUMAGE_OBJECTS_PUBLIC_ENDPOINT is for s3:// only")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return LocalStore(unquote(parts.path), mkdir=True)
    if parts.scheme == "memory":
        return MemoryStore()
    if parts.scheme not in ("s3", "gs", "az"):
        raise ValueError(f"{parts.scheme or url!r} is no object store: file, memory, s3, gs or az expected")
    # Bounded: a submission must fail within seconds, and a worker repeats a whole write itself. Plain HTTP is used
    # only with an endpoint that is configured as such, which is how servers inside one's own network are reached.
    backend = from_url(
        url,
        config={} if endpoint is None else {"endpoint": endpoint},
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=min(2.0, patience_s / 2)),
            "timeout": timedelta(seconds=request_s),
        },
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=patience_s / 2)},
    )
    assert isinstance(backend, S3Store | GCSStore | AzureStore), backend
    return backend


@contextmanager
def _store_errors(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound(f"There is no object {key}.") from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise ObjectExists(f"There is an object {key} already.") from error
    except (BaseError, OSError) as error:
        log.warning("objects.failed", key=key, reason=str(error).partition("\n")[0][:_LONGEST_REASON])
        raise ObjectsUnavailable("The object store does not answer.") from error
