"""Looking at jobs, fetching what they made, canceling and listing them, in every state."""

import time

import pytest

from jobs.schema import JobError
from tests.contract.http import player
from tests.contract.http.conftest import Stack, StartStack
from tests.contract.http.problems import problem

UNKNOWN = [
    "nosuchjob",
    "x" * 64,
    "x" * 65,
    "a:b",
    "..%2F..%2Fetc",
    "%00",
    "%0d%0aX: y",
    "\N{PEACOCK}",
]


def test_a_job_from_queue_to_result(stack: Stack) -> None:
    record = stack.submitted(seed=11)
    url = record["urls"]["self"]
    second = stack.submitted()
    assert stack.http.get(second["urls"]["self"]).json()["queue_position"] == 2

    claimed = player.claim(stack)
    player.preview(stack, claimed)
    running = stack.http.get(url).json()
    assert (running["status"], running["queue_position"], running["attempt"]) == ("running", None, 1)
    assert running["progress"] == {"step": 3, "steps": 12, "value": 0.25}
    assert running["started_at"] is not None
    assert running["finished_at"] is None
    assert stack.http.get(second["urls"]["self"]).json()["queue_position"] == 1

    player.finish(stack, claimed)
    done = stack.http.get(url).json()
    assert done["status"] == "succeeded"
    assert done["progress"]["value"] == 1.0
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    made = {
        key: value for key, value in done["result"].items() if key not in ("matches", "matches_picture", "variants")
    }
    assert made.pop("url").startswith("/v1/files/")
    assert made.pop("url_expires_at") > done["finished_at"]
    assert made == {
        "color_profile": "srgb",
        "width": 48,
        "height": 32,
        "content_type": "image/png",
        "bytes": len(player.PICTURE),
        "sha256": player.SHA256,
        "seed": 11,
        "model": player.MODEL.model_dump(),
        "timings": {"denoise": 12.5, "total": 20.0},
        "masks": {},
    }


# --- result ---


def test_the_result_is_the_stored_picture(stack: Stack) -> None:
    record = stack.submitted()
    player.finish(stack, player.claim(stack))
    response = stack.http.get(record["urls"]["result"])
    assert response.status_code == 200
    assert response.content == player.PICTURE
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"] == f'attachment; filename="plumage-{record["id"]}.png"'
    assert response.headers["ETag"] == f'"{player.SHA256}"'


@pytest.mark.parametrize("tags", [f'"{player.SHA256}"', f'"other", W/"{player.SHA256}"', "*"])
def test_a_known_result_is_not_sent_again(stack: Stack, tags: str) -> None:
    record = stack.submitted()
    player.finish(stack, player.claim(stack))
    response = stack.http.get(record["urls"]["result"], headers={"If-None-Match": tags})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["ETag"] == f'"{player.SHA256}"'
    other = stack.http.get(record["urls"]["result"], headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


def test_there_is_no_result_before_the_end(stack: Stack) -> None:
    record = stack.submitted()
    url = record["urls"]["result"]
    assert problem(stack.http.get(url), 409, "not_finished")["job_status"] == "queued"
    player.claim(stack)
    assert problem(stack.http.get(url), 409, "not_finished")["job_status"] == "running"
    stack.http.post(record["urls"]["cancel"])
    assert problem(stack.http.get(url), 409, "not_finished")["job_status"] == "canceling"


def test_a_failed_job_says_why(stack: Stack) -> None:
    record = stack.submitted()
    error = JobError(code="empty_mask", message="The mask holds no token.")
    assert stack.store.fail(player.claim(stack), error)
    shown = stack.http.get(record["urls"]["self"]).json()
    assert (shown["status"], shown["error"], shown["result"]) == ("failed", error.model_dump(), None)
    body = problem(stack.http.get(record["urls"]["result"]), 409, "job_failed")
    assert body["job_error"] == error.model_dump()
    assert body["detail"] == error.message


def test_a_canceled_job_has_no_result(stack: Stack) -> None:
    record = stack.submitted()
    stack.http.post(record["urls"]["cancel"])
    problem(stack.http.get(record["urls"]["result"]), 409, "job_canceled")


def test_a_result_that_was_removed_is_gone(stack: Stack) -> None:
    record = stack.submitted()
    player.finish(stack, player.claim(stack))
    stack.objects.delete_prefix(f"results/local/{record['id']}/")
    problem(stack.http.get(record["urls"]["result"]), 410, "result_gone")


# --- preview ---


def test_the_preview_is_there_once_the_worker_has_made_one(stack: Stack) -> None:
    record = stack.submitted()
    url = record["urls"]["preview"]
    problem(stack.http.get(url), 409, "no_preview")
    claimed = player.claim(stack)
    problem(stack.http.get(url), 409, "no_preview")
    player.preview(stack, claimed)
    response = stack.http.get(url)
    assert (response.status_code, response.content) == (200, player.PREVIEW)
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["Cache-Control"] == "no-store"


# --- cancel ---


def test_a_queued_job_is_canceled_at_once_and_again(stack: Stack) -> None:
    url = stack.submitted()["urls"]["cancel"]
    first, again = stack.http.post(url), stack.http.post(url)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["status"] == "canceled"
    assert first.json() == again.json()
    assert stack.store.claim("w1") is None


def test_a_running_job_goes_through_canceling(stack: Stack) -> None:
    record = stack.submitted()
    claimed = player.claim(stack)
    for _ in range(2):
        response = stack.http.post(record["urls"]["cancel"])
        assert (response.status_code, response.json()["status"]) == (202, "canceling")
    assert stack.store.renew(claimed).cancel_requested
    assert stack.store.finish_canceled(claimed)
    assert stack.http.post(record["urls"]["cancel"]).json()["status"] == "canceled"


def test_a_finished_job_stays_as_it_is(stack: Stack) -> None:
    record = stack.submitted()
    player.finish(stack, player.claim(stack))
    response = stack.http.post(record["urls"]["cancel"])
    assert (response.status_code, response.json()["status"]) == (200, "succeeded")


# --- ids ---


@pytest.mark.parametrize("job_id", UNKNOWN)
@pytest.mark.parametrize("action", ["", "/events", "/result", "/preview", "/cancel"])
def test_an_unknown_job_is_404_everywhere(stack: Stack, job_id: str, action: str) -> None:
    response = stack.http.request("POST" if action == "/cancel" else "GET", f"/v1/transfers/{job_id}{action}")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["code"] in ("job_not_found", "not_found")


def test_a_job_past_its_retention_is_410(start_stack: StartStack) -> None:
    stack = start_stack(retention_s=1)
    record = stack.submitted()
    stack.http.post(record["urls"]["cancel"])
    deadline = time.monotonic() + 10
    while stack.http.get(record["urls"]["self"]).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for name in ("self", "events", "result", "preview"):
        problem(stack.http.get(record["urls"][name]), 410, "job_gone")
    problem(stack.http.post(record["urls"]["cancel"]), 410, "job_gone")


# --- list ---


def test_the_list_walks_through_all_jobs_newest_first(stack: Stack) -> None:
    submitted = [stack.submitted()["id"] for _ in range(5)]
    seen, query = [], {"limit": "2"}
    while True:
        page = stack.http.get("/v1/transfers", params=query).json()
        assert set(page) == {"items", "next"}
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == submitted[::-1]


def test_an_empty_list(stack: Stack) -> None:
    assert stack.http.get("/v1/transfers").json() == {"items": [], "next": None}


def test_the_list_can_be_filtered_by_state(stack: Stack) -> None:
    records = [stack.submitted() for _ in range(4)]
    stack.http.post(records[0]["urls"]["cancel"])
    found, query = [], {"limit": "1", "status": "canceled"}
    while True:
        page = stack.http.get("/v1/transfers", params=query).json()
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert found == [records[0]["id"]]
    assert stack.http.get("/v1/transfers?status=failed").json()["items"] == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=101", "/query/limit"),
        ("limit=x", "/query/limit"),
        ("status=done", "/query/status"),
        ("cursor=x", "/query/cursor"),
        ("cursor=" + "1" * 101, "/query/cursor"),
    ],
)
def test_wrong_questions_about_the_list(stack: Stack, query: str, pointer: str) -> None:
    body = problem(stack.http.get(f"/v1/transfers?{query}"), 422, "invalid_request")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
