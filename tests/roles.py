"""The Redis users of `deploy/redis-acl.conf`, on a server of the tests."""

import os
from pathlib import Path
from typing import Literal, get_args

Role = Literal["api", "worker", "webhooks"]
RULES = Path(__file__).parent.parent / "deploy" / "redis-acl.conf"
UNDER_ACL = bool(os.environ.get("PLUMAGE_TEST_REDIS_ACL"))
"""Tests that use `redis_server` run as the users: `PLUMAGE_TEST_REDIS_ACL=1 scripts/test tests/contract`"""


def acl_options(folder: Path) -> list[str]:
    """Options of a server that knows the roles, by their names for passwords. The default user stays: it is the
    tests' own way to look behind."""
    text = RULES.read_text().replace("user default off", "")
    for role in get_args(Role):
        text = text.replace(f"@{role.upper()}_PASSWORD@", role)
    path = folder / "acl.conf"
    path.write_text(text)
    return ["--include", str(path)]


def as_role(url: str, role: Role) -> str:
    """`url` is that of an embedded server with `acl_options`."""
    return url.replace("unix://", f"unix://{role}:{role}@", 1)
