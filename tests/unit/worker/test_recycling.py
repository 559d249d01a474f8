"""When a worker process is replaced."""

from worker.recycling import RecyclingPolicy


def test_a_process_is_replaced_after_many_jobs_or_when_memory_runs_out_twice() -> None:
    policy = RecyclingPolicy(max_jobs=2, max_growth_mb=10_000)
    policy.count_job()
    policy.count_out_of_memory()
    assert not policy.reason
    policy.count_job()
    reasons = [policy.reason]
    policy.count_out_of_memory()
    reasons.append(policy.reason)
    assert reasons == ["2 jobs served", "out of memory again"]
