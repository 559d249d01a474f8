"""A content check of the operator's: a module that the test writes, loaded by name, asked by a real worker."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from jobs.objects import ObjectStore
from jobs.schema import JobKind, Output, Status
from jobs.settings import JobSettings
from jobs.stores.job_store import JobStore, new_job_id
from tests.contract.worker.test_tasks import context, get, loaded, results, sleepless, submit  # noqa: F401
from tests.specs import make_spec
from worker.content_check import ContentCheckUnusable, load_content_check
from worker.context import WorkerContext
from worker.process import run
from worker.supervisor_pipe import EX_CONFIG, SupervisorPipe
from worker.tasks import run_next

MODULE = """
from pathlib import Path

seen = []

def note(image, role):
    seen.append((role, image.mode, image.size, image.getpixel((4, 4))))

def refuse(image, role):
    seen.append(role)
    return f"The {role} shows a peacock." if role == REFUSED else None

def draw(image, role):
    image.paste((0, 0, 0), (0, 0, *image.size))

def wordy(image, role):
    return "x" * 5000

def silent(image, role):
    return ""

def odd(image, role):
    return True

def broken(image, role):
    raise RuntimeError("a secret of the operator's")

number = 7
"""


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "operators_check.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "operators_check", raising=False)
    return "operators_check"


def checked(context: WorkerContext, hook: str, function: str) -> WorkerContext:  # noqa: F811
    check = load_content_check(f"{hook}:{function}")
    return replace(context, content_check=check, transfer=sleepless())


def module(hook: str) -> object:
    return sys.modules[hook]


def test_it_sees_every_picture_before_it_is_used_or_stored(context: WorkerContext, hook: str) -> None:  # noqa: F811
    at_work = checked(context, hook, "note")
    spec = make_spec(job_id="seeds").model_copy(update={"more_seeds": (8,)})
    job_id = submit(at_work, spec)
    run_next(at_work)
    assert get(at_work, job_id).status is Status.SUCCEEDED
    seen = module(hook).seen  # type: ignore[attr-defined]
    assert [role for role, *_ in seen] == ["target", "reference", "result", "result"]
    assert seen[0] == ("target", "RGB", (48, 32), (220, 30, 30))
    assert get(at_work, job_id).preview_key is None
    assert at_work.objects.keys("previews/") == []


@pytest.mark.parametrize("role", ["target", "reference", "result"])
def test_its_refusal_fails_the_job_with_its_reason(context: WorkerContext, hook: str, role: str) -> None:  # noqa: F811
    at_work = checked(context, hook, "refuse")
    module(hook).REFUSED = role  # type: ignore[attr-defined]
    job_id = submit(at_work)
    run_next(at_work)
    record = get(at_work, job_id)
    assert (record.status, record.attempt) == (Status.FAILED, 1)
    assert record.error is not None
    assert (record.error.code, record.error.message) == ("content_refused", f"The {role} shows a peacock.")
    assert results(at_work, job_id) == []
    assert module(hook).seen[-1] == role  # type: ignore[attr-defined]
    run_next(at_work)
    assert get(at_work, job_id).attempt == 1


def test_jobs_that_only_match_are_checked_too(context: WorkerContext, hook: str) -> None:  # noqa: F811
    at_work = checked(context, hook, "refuse")
    module(hook).REFUSED = "reference"  # type: ignore[attr-defined]
    job_id = submit(at_work, make_spec(job_id="match").model_copy(update={"kind": JobKind.MATCHES}))
    run_next(at_work)
    error = get(at_work, job_id).error
    assert error is not None
    assert error.code == "content_refused"


@pytest.mark.parametrize("function", ["broken", "odd"])
def test_a_check_that_fails_lets_nothing_through(context: WorkerContext, hook: str, function: str) -> None:  # noqa: F811
    at_work = checked(context, hook, function)
    job_id = submit(at_work)
    run_next(at_work)
    record = get(at_work, job_id)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert record.error.code == "internal"
    assert "secret" not in record.error.message
    assert results(at_work, job_id) == []


@pytest.mark.parametrize(("function", "length"), [("wordy", 300), ("silent", 41)])
def test_reasons_are_of_some_length(context: WorkerContext, hook: str, function: str, length: int) -> None:  # noqa: F811
    at_work = checked(context, hook, function)
    job_id = submit(at_work)
    run_next(at_work)
    error = get(at_work, job_id).error
    assert error is not None
    assert len(error.message) == length


def test_it_cannot_change_what_it_sees(context: WorkerContext, hook: str) -> None:  # noqa: F811
    plain = replace(context, transfer=sleepless())
    drawn = checked(context, hook, "draw")
    made = []
    for at_work in (plain, drawn):
        job_id = new_job_id()
        submit_id = submit(at_work, make_spec(job_id=job_id).model_copy(update={"output": Output()}))
        run_next(at_work)
        result = get(at_work, submit_id).result
        assert result is not None
        assert result.image is not None
        made.append(result.image.sha256)
    assert made[0] == made[1]


@pytest.mark.parametrize("path", ["no_such_module:check", "{hook}:no_such_function", "{hook}:number", "broken_one:f"])
def test_a_worker_does_not_start_without_the_check_that_it_was_given(
    hook: str, path: str, tmp_path: Path, redis: Redis, job_settings: JobSettings, store: JobStore, objects: ObjectStore
) -> None:
    (tmp_path / "broken_one.py").write_text("raise OSError('no weights')\n")
    named = path.replace("{hook}", hook)
    with pytest.raises(ContentCheckUnusable, match=named):
        load_content_check(named)
    settings = job_settings.model_copy(update={"content_check": named})

    def never() -> object:
        raise AssertionError("models are not loaded for it")

    assert run(settings, "w1", SupervisorPipe(), load_models=never) == EX_CONFIG  # type: ignore[arg-type]


def test_its_setting_is_a_module_and_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMAGE_CONTENT_CHECK", "checks.nudity:check")
    assert JobSettings().content_check == "checks.nudity:check"
    for wrong in ("checks", "checks:", "a b:c", "os.system('x'):y"):
        monkeypatch.setenv("PLUMAGE_CONTENT_CHECK", wrong)
        with pytest.raises(ValueError, match="content_check"):
            JobSettings()
