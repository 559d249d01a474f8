"""What the probes answer."""

from typing import Literal

from service.schemas.job import Answer

Part = Literal["redis", "objects", "worker"]


class Check(Answer):
    name: Part
    ok: bool
    detail: str


class Alive(Answer):
    status: Literal["alive"]


class Readiness(Answer):
    status: Literal["ready"]
    checks: list[Check]
