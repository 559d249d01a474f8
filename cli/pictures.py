"""The pictures of a command, read and checked by the rules of the HTTP API. Loads no torch."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.errors import BadInput
from core.params.transfer import TransferParams
from jobs.inputs import MASK, PART_PATTERN, PICTURE, ExpectedInputs
from uploads.errors import InvalidImage
from uploads.images import CheckedPicture, PictureLimits, check_mask, check_picture


def read_pictures(
    target: Path,
    reference: Path,
    target_mask: Path | None,
    reference_mask: Path | None,
    params: TransferParams,
    named: Mapping[str, Path],
) -> dict[str, bytes]:
    """PNGs by the names of their parts in a form: `target`, `target_mask`, `picture_NAME` and so on.

    Raises BadInput with the name of the file, or of what a region needs or no region names.
    """
    expected = ExpectedInputs.of(params)
    for option, problem in [(part, "needed by a region") for part in expected.missing(named)] + [
        (part, "named by no region") for part in expected.needless(named)
    ]:
        kind, _, name = option.partition("_")
        raise BadInput(f"--{kind} {name}=FILE: {problem}", "bad_named_picture")
    pictures = {"target": _read(target), "reference": _read(reference)}
    pictures |= {part: _read(named[part]) for part in expected.pictures}
    masks = {part: _read(named[part], pictures[owner]) for part, owner in expected.masks.items()}
    if target_mask is not None:
        masks["target_mask"] = _read(target_mask, pictures["target"])
    if reference_mask is not None:
        masks["reference_mask"] = _read(reference_mask, pictures["reference"])
    return {part: picture.png for part, picture in (pictures | masks).items()}


def read_named(pictures: Sequence[str], masks: Sequence[str]) -> dict[str, Path]:
    """`NAME=FILE` of the command line by the names of parts. Raises BadInput."""
    named: dict[str, Path] = {}
    for prefix, assignments in ((PICTURE, pictures), (MASK, masks)):
        for assignment in assignments:
            name, equals, path = assignment.partition("=")
            if not equals or not path or not re.fullmatch(PART_PATTERN, prefix + name):
                raise BadInput(f"--{prefix[:-1]} {assignment}: NAME=FILE expected", "bad_named_picture")
            if prefix + name in named:
                raise BadInput(f"--{prefix[:-1]} {name} is given twice", "bad_named_picture")
            named[prefix + name] = Path(path)
    return named


def _read(path: Path, masked: CheckedPicture | None = None) -> CheckedPicture:
    """The picture at `path`, or the mask of the picture `masked`."""
    limits = PictureLimits()
    try:
        data = path.read_bytes()
        if masked is None:
            return check_picture(data, limits)
        return check_mask(data, limits, masked.size, masked.scaled_from)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "file_not_found") from error
    except InvalidImage as error:
        raise BadInput(f"{path}: {error}", error.code) from error
