"""Read by Schemathesis before a run: what a picture looks like that the service has to accept."""

import re
from hashlib import sha256
from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.negative import mutations
from schemathesis.transport.serialization import Binary

from tests.pictures import encoded, gradient

NAME = "[a-z0-9][a-z0-9_]{0,31}"
NOBODY = "http://127.0.0.1:9/"
"""Refuses every connection. Every URL is this one: a schema cannot say which ones are followed."""

PICTURE = encoded(gradient())
ASSET = sha256(PICTURE).hexdigest()
"""Of both tenants, from before the run."""

# One size, so that every picture can be a mask of every other.
MODES = {"PNG": ("RGB", "L", "RGBA", "P", "1"), "JPEG": ("RGB", "L"), "WEBP": ("RGB", "RGBA")}


def pictures(kind: str) -> st.SearchStrategy[bytes]:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    return st.sampled_from([encoded(gradient(mode), kind, **options) for mode in MODES[kind]])


# What a name of a part looks like that regions give: none of the names that it tries by itself fits.
mutations._PATTERN_NAME_CANDIDATES += ("picture_x", "mask_x")  # type: ignore[assignment]
schemathesis.openapi.format("uri", st.just(NOBODY))
for kind in MODES:
    schemathesis.openapi.media_type(f"image/{kind.lower()}", pictures(kind))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """No key twice: it would come with another submission, which is refused. What is no key stays as it is. JSON names
    assets that are there."""
    if case.meta is not None and case.meta.generation.mode.is_positive and isinstance(case.body, dict):
        _name_what_is_there(case.body)
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch(r"[!-~]{1,257}", key):
        case.headers["Idempotency-Key"] = uuid4().hex


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """What JSON Schema cannot say of several fields together. Some jobs fail, so that one can be retried."""
    fields = getattr(body, "body", body)
    if isinstance(fields, dict):
        items = fields.get("items")
        for given in (fields, *(items if isinstance(items, list) else ())):
            if isinstance(given, dict):
                _drop_what_no_region_names(given)
                _take_one_seed(given)
        if isinstance(params := fields.get("params"), dict):
            fields["params"] = _agreeing(params)
        if isinstance(output := fields.get("output"), dict):
            fields["output"] = _possible(output)
        if isinstance(seed := fields.get("seed"), int) and seed % 4 == 1:
            fields["prompt"] = '{"error": "asked for"}'
    return body


def _drop_what_no_region_names(given: dict[str, Any]) -> None:
    """As all names are taken from regions. What the schema refuses is left, to be refused."""
    for name in ("pictures", "masks"):
        named = given.get(name)
        if isinstance(named, dict) and all(re.fullmatch(NAME, key) and _a_picture(named[key]) for key in named):
            del given[name]
    for part in [part for part in given if re.fullmatch(f"(picture|mask)_{NAME}", part)]:
        if isinstance(given[part], bytes | Binary):
            del given[part]


def _take_one_seed(given: dict[str, Any]) -> None:
    """`seed` and `seeds` exclude each other."""
    seeds = given.get("seeds")
    if "seed" in given and isinstance(seeds, list) and 0 < len(seeds) <= 8 and all(map(_a_seed, seeds)):
        del given["seeds"]


def _a_seed(value: Any) -> bool:
    return type(value) in (int, float) and value == int(value) and 0 <= value < 2**63


def _a_picture(named: Any) -> bool:
    if not isinstance(named, dict) or len(named) != 1:
        return False
    asset, url = named.get("asset"), named.get("url")
    return re.fullmatch("[0-9a-f]{64}", str(asset)) is not None or (isinstance(url, str) and 0 < len(url) <= 2048)


def _name_what_is_there(body: dict[str, Any]) -> None:
    """What JSON Schema cannot say of assets, of batches and of several fields together."""
    if isinstance(body.get("url"), str):
        body["url"] = NOBODY
    if isinstance(output := body.get("output"), dict):
        body["output"] = _possible(output)
    if isinstance(params := body.get("params"), dict):
        body["params"] = _agreeing(params)
    items = body.get("items")
    if isinstance(items, list):
        body["reference"] = body.get("reference") or {"asset": ASSET}
        items = body["items"] = [{**item, "custom_id": str(number)} for number, item in enumerate(items)]
    for named in (body, *(items or ())):
        _drop_what_no_region_names(named)
        _take_one_seed(named)
        for name in ("target", "reference", "target_mask", "reference_mask"):
            if isinstance(named.get(name), dict):
                named[name] = {"asset": ASSET}


def _agreeing(params: dict[str, Any]) -> dict[str, Any]:
    """Ranges of noise levels go down, a box has an inside, points are taken off something, landmarks need one map.

    A value that the schema refuses is left as it is: it is there to be refused.
    """
    agreeing = dict(params)
    for group in ("injection", "latent", "noise"):
        if isinstance(values := agreeing.get(group), dict):
            agreeing[group] = {name: _downwards(value) for name, value in values.items()}
    if isinstance(masks := agreeing.get("masks"), dict):
        agreeing["masks"] = _agreeing_masks(masks)
    if isinstance(matching := agreeing.get("matching"), dict):
        agreeing["matching"] = _agreeing_matching(matching, str(agreeing.get("preset")))
    return agreeing


def _agreeing_masks(masks: dict[str, Any]) -> dict[str, Any]:
    agreeing = _agreeing_selections(masks)
    if isinstance(regions := agreeing.get("regions"), list):
        agreeing["regions"] = [_nameless(region) for region in regions]
        if agreeing.get("mode") == "none":
            del agreeing["regions"]
    return agreeing


def _agreeing_matching(matching: dict[str, Any], preset: str) -> dict[str, Any]:
    agreeing = dict(matching)
    if agreeing.pop("custom_map", None) or agreeing.get("source") == "custom":
        agreeing["source"] = "auto"
    if isinstance(parts := agreeing.get("parts"), list) and all(isinstance(part, str) for part in parts):
        agreeing["parts"] = list(dict.fromkeys(parts)) if len(set(parts)) != 1 else []
    if agreeing.get("landmarks") or agreeing.get("parts"):
        source = agreeing.get("source", "per_layer" if preset.startswith("paper") else "auto")
        agreeing["source"] = "unet" if source == "per_layer" else source
    return agreeing


def _agreeing_selections(given: dict[str, Any]) -> dict[str, Any]:
    agreeing = dict(given)
    for name in ("target_selection", "reference_selection"):
        if isinstance(selection := agreeing.get(name), dict):
            agreeing[name] = {key: value for key, value in selection.items() if not _at_odds(key, value, selection)}
    return agreeing


def _nameless(region: Any) -> Any:
    """A region that names nothing: what it names would have to come with it."""
    if not isinstance(region, dict):
        return region
    named = ("target_mask", "reference", "reference_mask")
    return _agreeing_selections({name: value for name, value in region.items() if name not in named})


def _possible(output: dict[str, Any]) -> dict[str, Any]:
    """PNG has no quality, a JPEG is not transparent."""
    if output.get("format") == "jpeg":
        return {**output, "background": output.get("background") or "#ffffff"}
    if output.get("format", "png") == "png":
        return {name: value for name, value in output.items() if name != "quality"}
    return output


def _downwards(value: Any) -> Any:
    pair = isinstance(value, list) and len(value) == 2
    return sorted(value, reverse=True) if pair and all(type(item) in (int, float) for item in value) else value


def _at_odds(key: str, value: Any, selection: dict[str, Any]) -> bool:
    """Whether this is valid by itself and cannot be meant beside the rest."""
    if key == "box" and _fractions(value, 4):
        return bool(value[0] >= value[2] or value[1] >= value[3])
    if key == "points_off" and isinstance(value, list) and len(value) <= 32:
        return not selection.get("points") and all(_fractions(place, 2) for place in value)
    return key == "text" and isinstance(value, str) and 0 < len(value) <= 200 and not value.strip()


def _fractions(value: Any, count: int) -> bool:
    if not isinstance(value, list) or len(value) != count:
        return False
    return all(type(item) in (int, float) and 0 <= item <= 1 for item in value)
