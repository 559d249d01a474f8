"""Dry runs: a submission is checked, and nothing is stored or queued."""

from fastapi import APIRouter

from service.dependencies import Called
from service.job_responses import answer_trial
from service.openapi.responses import TRIAL_CODES, form_body, problems
from service.submissions.body import Admitting, SubmittedMatching, SubmittedTransfer
from service.submissions.dry_run import DryRun

router = APIRouter(prefix="/v1/dry_run")


@router.post(
    "/transfers",
    tags=["transfers"],
    operation_id="try_transfer",
    summary="Try a transfer",
    response_description="It would be accepted.",
    openapi_extra=form_body("TransferForm", "TransferRequest"),
    responses=problems(*TRIAL_CODES, "output_transparency"),
)
async def try_transfer(form: SubmittedTransfer, caller: Called, admission: Admitting) -> DryRun:
    """Checks a submission as `create_transfer` does, and stores and queues nothing. Gives all parameters with the
    defaults that were filled in, and when to expect the result."""
    return await answer_trial(form, caller, admission)


@router.post(
    "/matches",
    tags=["matches"],
    operation_id="try_matching",
    summary="Try a matching job",
    response_description="It would be accepted.",
    openapi_extra=form_body("MatchingForm", "MatchingRequest"),
    responses=problems(*TRIAL_CODES),
)
async def try_matching(form: SubmittedMatching, caller: Called, admission: Admitting) -> DryRun:
    """Checks a submission as `create_matching` does, and stores and queues nothing. Gives all parameters with the
    defaults that were filled in, and when to expect the result."""
    return await answer_trial(form, caller, admission)
