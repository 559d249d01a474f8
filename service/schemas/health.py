"""The responses of the health checks."""

from typing import Literal

from service.schemas.base import ResponseModel

Part = Literal["redis", "objects", "worker"]


class Check(ResponseModel):
    name: Part
    ok: bool
    detail: str


class Alive(ResponseModel):
    status: Literal["alive"]


class Readiness(ResponseModel):
    status: Literal["ready"]
    checks: list[Check]
