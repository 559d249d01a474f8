"""The promise behind every 202, checked from outside: by the records, the objects, and Redis' own journal.

The append-only file contains every write that Redis ever did. So a job that ended twice is seen there, although its
record shows one end only and the process that wrote the other one is dead.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from jobs.objects import ObjectStore, preview_key
from jobs.schema import Record, Status
from tests.faults.stack import Stack

Figures = dict[str, float | int | str]
_ENDS = {status.encode() for status in Status if status.terminal}


def check_promise(stack: Stack, acknowledged: Collection[str], deleted: Collection[str] = ()) -> Figures:
    """Every acknowledged job has ended exactly once, its one result is the one of its record, and after collection
    there is no object that belongs to none of them. Raises AssertionError.

    That includes jobs whose acknowledgement was lost on the way: they exist, although no client knows of them.
    `deleted` are jobs that a client has removed since. The stack's Redis keeps its journal in the stack's data folder.
    """
    known = {record.id: record for record in stack.records()}
    missing = set(acknowledged) - known.keys() - set(deleted)
    assert not missing, f"{len(missing)} acknowledged jobs are not there: {sorted(missing)[:5]}"
    records = list(known.values())
    unfinished = [record.id for record in records if not record.status.terminal]
    assert not unfinished, f"{len(unfinished)} jobs have not ended: {unfinished[:5]}"

    ends = ends_written(stack.settings.data_dir, stack.settings.prefix)
    lost = [record.id for record in records if ends[record.id] == 0]
    doubled = [job_id for job_id, count in ends.items() if count > 1]
    assert not lost, f"no end in the journal: {lost[:5]}"
    assert not doubled, f"ended more than once: {doubled[:5]}"

    succeeded = [record for record in records if record.status is Status.SUCCEEDED]
    for record in succeeded:
        assert record.result is not None
        for file in record.result.files:
            stored = hashlib.sha256(stack.objects.get(file.key)).hexdigest()
            assert stored == file.sha256, f"{file.key} is not what was committed"

    stack.collect()
    orphans = objects_in(stack.objects) - {key for record in records for key in objects_of(record)}
    assert not orphans, f"{len(orphans)} objects belong to nothing: {sorted(orphans)[:5]}"
    return {
        "acknowledged": len(set(acknowledged)),
        "unacknowledged": len(known.keys() - set(acknowledged)),
        "succeeded": len(succeeded),
        "failed": sum(record.status is Status.FAILED for record in records),
        "interrupted": sum(record.attempt > 1 for record in records),
        "attempts_max": max((record.attempt for record in records), default=0),
        "lost": len(lost),
        "doubled": len(doubled),
        "orphans": len(orphans),
    }


def objects_in(objects: ObjectStore) -> set[str]:
    return {key for kind in ("inputs/", "results/", "previews/") for key in objects.keys(kind)}


def objects_of(record: Record) -> set[str]:
    """All that may be stored for a job that is over. Of a result's attempt also the preview, which is deleted with the
    job, although the record does not name it when Redis was away just then."""
    keys = set(record.spec.inputs.parts.values())
    if record.result is not None:
        preview = preview_key(record.tenant, record.id, record.attempt)
        keys |= {*record.result.keys, preview}
    return keys


def ends_written(data_dir: Path, prefix: str) -> Counter[str]:
    """How often each job was given a terminal status, since the server of this folder was first started."""
    start = f"{prefix}:job:".encode()
    ends: Counter[str] = Counter()
    for words in journal(data_dir / "redis"):
        if words[0].upper() == b"HSET" and words[1].startswith(start):
            fields = dict(zip(words[2::2], words[3::2], strict=True))
            if fields.get(b"status") in _ENDS:
                ends[words[1].removeprefix(start).decode()] += 1
    return ends


def journal(folder: Path) -> Iterator[list[bytes]]:
    """The commands in the append-only files of a server's folder; a last one that was cut off is left out."""
    for path in sorted(folder.rglob("*.aof")):
        data = path.read_bytes()
        assert not data.startswith(b"REDIS"), f"{path} has been rewritten: its earlier content cannot be checked"
        at = 0
        while at < len(data):
            try:
                words, at = _command(data, at)
            except ValueError:
                break
            yield words


def _command(data: bytes, at: int) -> tuple[list[bytes], int]:
    """The command that starts at `at`, and where the next one does. Raises ValueError when it is not whole."""
    end = data.index(b"\r\n", at)
    count, at = int(data[at + 1 : end]), end + 2
    words = []
    for _ in range(count):
        end = data.index(b"\r\n", at)
        length, at = int(data[at + 1 : end]), end + 2
        if at + length + 2 > len(data):
            raise ValueError("cut off")
        words.append(data[at : at + length])
        at += length + 2
    return words, at
