"""What `plumage doctor` finds on this machine: weights, device, limits."""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from jobs.checkup import Finding, ok, wrong
from jobs.settings import JobSettings

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
    from checkpoints.obtain import MODELS, files_here, has_manifest, source_of, verified

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
