"""API keys on a real Redis."""

import hashlib
import time

import pytest
from redis import Redis

from jobs.errors import KeyRefused, KeyUnknown
from jobs.settings import JobSettings
from jobs.stores.api_keys import ApiKeys, Scope


@pytest.fixture
def keys(client: Redis, job_settings: JobSettings) -> ApiKeys:
    return ApiKeys(client, job_settings)


def test_a_key_is_what_was_asked_for(keys: ApiKeys) -> None:
    token, key = keys.create("acme", [Scope.READ, Scope.SUBMIT], label="Ann \N{PEACOCK}", ttl_s=3600)
    assert keys.authenticate(token) == key
    assert (key.tenant, key.label) == ("acme", "Ann \N{PEACOCK}")
    assert key.scopes == frozenset({Scope.READ, Scope.SUBMIT})
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).total_seconds() == 3600
    assert key.allows(Scope.READ)
    assert not key.allows(Scope.ADMIN)
    _, admin = keys.create("acme", [Scope.ADMIN])
    assert admin.allows(Scope.SUBMIT)
    assert admin.expires_at is None
    assert [listed.id for listed in keys.list_keys()] == [key.id, admin.id]


def test_the_secret_has_256_bits_and_only_its_hash_is_stored(keys: ApiKeys, redis: Redis) -> None:
    token, key = keys.create("acme", [Scope.READ])
    secret = token.rpartition("_")[2]
    assert len(bytes.fromhex(secret)) == 32
    stored = b" ".join(redis.dump(name) or b"" for name in redis.scan_iter("*"))
    assert secret.encode() not in stored
    assert redis.hget(f"plumage:key:{key.id}", "digest") == hashlib.sha256(token.encode()).hexdigest().encode()


def test_no_other_word_is_a_key(keys: ApiKeys) -> None:
    token, _ = keys.create("acme", [Scope.READ])
    other, _ = keys.create("acme", [Scope.READ])
    mixed = token.rpartition("_")[0] + "_" + other.rpartition("_")[2]
    last = "0" if token[-1] != "0" else "1"
    near = (token[:-1], token[:-1] + last, token.upper(), token + " ", mixed)
    for wrong in (*near, "", "plumage", "x" * 10_000, "\x00"):
        with pytest.raises(KeyRefused):
            keys.authenticate(wrong)


def test_a_revoked_key_is_refused(keys: ApiKeys) -> None:
    token, key = keys.create("acme", [Scope.READ])
    keys.revoke(key.id)
    with pytest.raises(KeyRefused):
        keys.authenticate(token)
    assert keys.list_keys() == []
    for unknown in (key.id, "", "*", "../x"):
        with pytest.raises(KeyUnknown):
            keys.revoke(unknown)


def test_an_expired_key_is_refused(keys: ApiKeys) -> None:
    token, _ = keys.create("acme", [Scope.READ], ttl_s=1)
    keys.authenticate(token)
    time.sleep(1.1)
    with pytest.raises(KeyRefused):
        keys.authenticate(token)
    assert keys.list_keys() == []


@pytest.mark.parametrize(
    ("tenant", "scopes", "label", "ttl_s"),
    [
        ("", [Scope.READ], "", None),
        ("a:b", [Scope.READ], "", None),
        ("../a", [Scope.READ], "", None),
        ("a", [], "", None),
        ("a", [Scope.READ], "\x1b[2J", None),
        ("a", [Scope.READ], "x" * 101, None),
        ("a", [Scope.READ], "", 0),
    ],
)
def test_keys_that_cannot_be(keys: ApiKeys, tenant: str, scopes: list[Scope], label: str, ttl_s: int | None) -> None:
    with pytest.raises(ValueError, match=r"tenant|scope|label|key lives"):
        keys.create(tenant, scopes, label=label, ttl_s=ttl_s)
    assert keys.list_keys() == []
