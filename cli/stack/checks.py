"""Whether Redis and the object store are what the promise behind a 202 needs, tried for real.

Each check says what it found and, where that is not right, what to do. Nothing is changed but a probe object, which is
removed again.

What `plumage doctor` finds on this machine: weights, device, limits.
"""

import os
import resource
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from jobs.base import StoredModel
from jobs.errors import JobsError, ObjectExists
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore

OLDEST_REDIS = (6, 2)
CLOCK_WARNING_S, CLOCK_ERROR_S = 2.0, 60.0
PROBE_PREFIX = "probes/doctor/"
State = Literal["ok", "warning", "error", "skipped"]


class Finding(StoredModel):
    """One line of the report. `advice` is empty when nothing has to be done."""

    part: str
    """Area and subject, such as `redis.version`. Stable."""
    state: State
    found: str
    advice: str


def ok(part: str, found: str) -> Finding:
    return Finding(part=part, state="ok", found=found, advice="")


def wrong(part: str, found: str, advice: str, state: State = "error") -> Finding:
    return Finding(part=part, state=state, found=found, advice=advice)


def check_redis(url: str, settings: JobSettings) -> Iterator[Finding]:
    """Everything about Redis. When it cannot be reached, that is the only finding."""
    with connect_redis(url) as redis:
        try:
            redis.ping()
        except AuthenticationError:
            yield wrong("redis.reach", "refuses the user or the password", "correct both in PLUMAGE_REDIS_URL")
            return
        except RedisError as error:
            advice = "start it, or correct PLUMAGE_REDIS_URL"
            yield wrong("redis.reach", f"does not answer ({type(error).__name__})", advice)
            return
        yield ok("redis.reach", "answers")
        try:
            info: dict[str, object] = redis.info()
        except NoPermissionError:
            yield wrong(
                "redis.version", "INFO is refused", "give the user +info, as in deploy/redis-acl.conf", "warning"
            )
        else:
            yield _version(info)
            yield from _durability(info, redis)
            yield _eviction(info)
            yield _role(info)
        yield _user(redis, url)
        yield _scripts(redis, settings)
        yield _clock(redis)


def check_objects(settings: JobSettings) -> Iterator[Finding]:
    """Writes, reads, overwrites, signs and deletes a probe."""
    key = PROBE_PREFIX + secrets.token_hex(8)
    try:
        objects = ObjectStore.from_settings(settings)
    except ValueError as error:
        yield wrong("objects.url", str(error), "correct PLUMAGE_OBJECTS_URL")
        return
    except (JobsError, OSError) as error:
        yield wrong("objects.url", str(error), "make the folder writable, or correct PLUMAGE_OBJECTS_URL")
        return
    try:
        objects.put(key, b"first", "text/plain")
    except JobsError:
        yield wrong(
            "objects.write", "cannot be written", "check the address, the credentials, their rights and the space"
        )
        return
    yield ok("objects.write", "can be written")
    try:
        same = objects.get(key) == b"first"
        found = ok("objects.read", "gives back what was written")
        yield found if same else wrong("objects.read", "gives back other bytes", "use another store")
    except JobsError:
        yield wrong("objects.read", "cannot be read", "give the credentials the right to read and list")
    yield _create_only(objects, key)
    yield _signing(objects, key)
    with suppress(JobsError):
        objects.delete(key)
        if not objects.exists(key):
            yield ok("objects.delete", "can be deleted")
            return
    yield wrong("objects.delete", f"{key} cannot be deleted", "give the credentials the right to delete", "warning")


def _create_only(objects: ObjectStore, key: str) -> Finding:
    part = "objects.create_only"
    try:
        objects.put(key, b"second", "text/plain")
    except ObjectExists:
        return ok(part, "an existing object is not overwritten")
    except JobsError:
        return wrong(part, "a conditional write fails", "use a store that knows `If-None-Match: *` on PUT")
    return wrong(part, "an existing object was overwritten", "use a store that honours `If-None-Match: *` on PUT")


def _signing(objects: ObjectStore, key: str) -> Finding:
    try:
        url = objects.signed_url(key, 60)
    except JobsError:
        return wrong("objects.sign", "links cannot be signed", "check the credentials", "warning")
    return ok("objects.sign", "links can be signed" if url else "no links: the API hands results out itself")


def _version(info: dict[str, object]) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    compatible = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if compatible < OLDEST_REDIS:
        return wrong("redis.version", f"{name} {version}", "upgrade to Redis 7 or newer, or Valkey")
    return ok("redis.version", f"{name} {version}")


def _durability(info: dict[str, object], redis: Redis) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        yield wrong("redis.aof", "no append-only file: a restart forgets jobs", "set `appendonly yes`")
        return
    if info.get("aof_last_write_status") != "ok":
        yield wrong("redis.aof", "the last write to the append-only file failed", "make space on the disk of Redis")
        return
    yield ok("redis.aof", "the append-only file is written")
    try:
        policy = redis.config_get("appendfsync").get("appendfsync", "unknown")
    except (NoPermissionError, ResponseError):
        yield Finding(part="redis.fsync", state="skipped", found="not visible to this user", advice="")
        return
    if policy == "always":
        yield ok("redis.fsync", "on the disk before the answer")
    else:
        advice = "set `appendfsync always`, or accept that"
        yield wrong("redis.fsync", f"{policy}: a loss of power can cost acknowledged jobs", advice, "warning")


def _eviction(info: dict[str, object]) -> Finding:
    policy = str(info.get("maxmemory_policy"))
    if policy != "noeviction":
        return wrong("redis.eviction", f"{policy}: jobs may be evicted", "set `maxmemory-policy noeviction`")
    return ok("redis.eviction", "no job is evicted")


def _role(info: dict[str, object]) -> Finding:
    if info.get("cluster_enabled"):
        return wrong("redis.role", "a cluster", "use one server, with a replica if you like; scripts span all keys")
    if info.get("role") == "slave":
        return wrong("redis.role", "a read-only replica", "point PLUMAGE_REDIS_URL at the primary")
    return ok("redis.role", "a primary")


def _user(redis: Redis, url: str) -> Finding:
    """The harmless half of CONFIG tells whether this user could reconfigure the server."""
    try:
        redis.config_get("maxmemory")
    except (NoPermissionError, ResponseError):
        return ok("redis.acl", "this user may not reconfigure the server")
    if url.startswith("unix://"):
        return ok("redis.acl", "this user may do everything, on a socket of this machine")
    advice = "use the users of deploy/redis-acl.conf"
    return wrong("redis.acl", "this user may reconfigure and empty the server", advice, "warning")


def _scripts(redis: Redis, settings: JobSettings) -> Finding:
    try:
        JobStore(redis, settings).workers()
    except (NoPermissionError, ResponseError) as error:
        advice = f"let the user run scripts on {settings.prefix}:* (EVALSHA, SCRIPT LOAD), as in deploy/redis-acl.conf"
        return wrong("redis.scripts", str(error)[:120], advice)
    except JobsError as error:
        return wrong("redis.scripts", str(error), "look at the log of Redis")
    return ok("redis.scripts", f"run on the keys {settings.prefix}:*")


def _clock(redis: Redis) -> Finding:
    before = time.time()
    seconds, micros = redis.time()
    after = time.time()
    skew_s = seconds + micros / 1e6 - (before + after) / 2
    # Half the way there and back is not known to be clock.
    excess_s = max(0.0, abs(skew_s) - (after - before) / 2)
    found = f"{abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} Redis"
    if excess_s < CLOCK_WARNING_S:
        return ok("clock", found)
    # Leases are counted on the clock of Redis; signed links, key expiry in clients and times in answers are not.
    state: State = "error" if excess_s > CLOCK_ERROR_S else "warning"
    return wrong("clock", found, "synchronise the clocks of both machines (NTP)", state)


if TYPE_CHECKING:
    from checkpoints.settings import ModelSettings
OPEN_FILES = 1024
FREE_BYTES = 1 << 30
GIB = 1 << 30


def check_model() -> Iterator[Finding]:
    """The weights of PLUMAGE_MODEL, without loading them, and the device. Skipped where no worker is installed."""
    if find_spec("torch") is None:
        found = "no worker is installed here (the extra plumage[worker])"
        yield Finding(part="model.files", state="skipped", found=found, advice="")
        return
    from pydantic import ValidationError

    from checkpoints.errors import CheckpointError
    from checkpoints.files import check_files
    from checkpoints.settings import ModelSettings

    try:
        settings = ModelSettings()
    except ValidationError as error:
        fields = ", ".join(f"PLUMAGE_{fault['loc'][0]}".upper() for fault in error.errors())
        yield wrong("model.settings", "settings of the model cannot be read", f"correct {fields}")
        return
    whole = True
    for name, source, revision in (
        ("PLUMAGE_MODEL", settings.model, settings.model_revision),
        ("PLUMAGE_VAE", settings.vae, settings.vae_revision),
    ):
        if source is not None:
            part = "model.files" if name == "PLUMAGE_MODEL" else "model.vae"
            try:
                yield ok(part, f"{source}: {check_files(source, revision, name)}")
            except CheckpointError as error:
                whole = False
                yield wrong(part, str(error), f"give a whole SDXL checkpoint in {name}")
    if whole:
        yield _manifests(settings)
    yield _device(settings.device, settings.dtype)


def _manifests(settings: "ModelSettings") -> Finding:
    """Reads every file of every model that has a manifest."""
    from checkpoints.errors import CheckpointError
    from checkpoints.hub import MODELS, files_here, has_manifest, source_of, verified

    part, files, without = "model.manifest", 0, []
    try:
        for model in MODELS:
            source = source_of(settings, model)
            if source is None or (folder := files_here(source)) is None:
                continue
            if has_manifest(source):
                files += len(verified(source, folder) or ())
            else:
                without.append(source.name)
    except CheckpointError as error:
        return wrong(part, str(error), "restore the files; if they are meant to be so, `plumage models pin`")
    if without:
        advice = "write one with `plumage models pin`; for hub ids PLUMAGE_MANIFESTS names its folder"
        return wrong(part, f"no manifest of {', '.join(without)}", advice, "warning")
    return ok(part, f"{files} files, as the manifests say")


def _device(name: str, dtype: str) -> Finding:
    import torch

    from checkpoints.devices import choose_device, choose_dtype
    from checkpoints.errors import DeviceUnavailable

    try:
        device = choose_device(name)
        precision = str(choose_dtype(dtype, device)).removeprefix("torch.")
    except DeviceUnavailable as error:
        return wrong("device", str(error), "set PLUMAGE_DEVICE and PLUMAGE_DTYPE to what this machine has")
    if device.type != "cuda":
        return ok("device", f"{device}, {precision}")
    free, total = torch.cuda.mem_get_info(device)
    memory = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    return ok("device", f"{torch.cuda.get_device_name(device)}, {precision}, {memory}")


def check_limits(settings: JobSettings) -> Iterator[Finding]:
    """Open files, and space where pictures are put."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES:
        advice = f"raise the limit to {OPEN_FILES} or more (`ulimit -n`); every client takes one"
        yield wrong("limits.open_files", f"{soft} at a time", advice, "warning")
    else:
        yield ok("limits.open_files", "unlimited" if soft < 0 else f"{soft} at a time")
    yield _space("limits.temporary", Path(tempfile.gettempdir()), "uploads wait there; make space, or set TMPDIR")
    if (folder := _objects_folder(settings)) is not None:
        yield _space("limits.disk", folder, "make space, or shorten PLUMAGE_RETENTION_S")


def _objects_folder(settings: JobSettings) -> Path | None:
    if settings.objects_url is None:
        return settings.data_dir
    parts = urlsplit(settings.objects_url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _space(part: str, folder: Path, advice: str) -> Finding:
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return wrong(part, f"{folder} cannot be written", "give this user the right to write there")
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    return ok(part, found) if free >= FREE_BYTES else wrong(part, found, advice, "warning")
