"""Which messages the client believes. The signature is that of the Standard Webhooks specification's own example."""

import base64
import json

import pytest
from plumage_client import Webhook, WebhookRefused

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"test": 2432232314}'
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
NOW = 1614265330.0
OTHER = "whsec_" + base64.b64encode(b"another secret of 24 byte").decode()


@pytest.mark.parametrize("secrets", [SECRET, [OTHER, SECRET]])
@pytest.mark.parametrize("now", [NOW, NOW + 299, NOW - 299])
def test_a_message_of_the_service(secrets: str | list[str], now: float) -> None:
    assert Webhook(secrets).verify(BODY, HEADERS, now=now) == json.loads(BODY)


def test_names_of_headers_come_in_any_case_and_signatures_in_any_number() -> None:
    headers = {name.title(): value for name, value in HEADERS.items()}
    headers["Webhook-Signature"] = "v1a,abc v1,AAAA " + headers["Webhook-Signature"]
    assert Webhook(SECRET).verify(BODY.encode(), headers, now=NOW) == json.loads(BODY)


@pytest.mark.parametrize(
    ("body", "changed", "now"),
    [
        (BODY + " ", {}, NOW),
        (BODY, {"webhook-id": "msg_other"}, NOW),
        (BODY, {"webhook-timestamp": "1614265331"}, NOW),
        (BODY, {"webhook-timestamp": "soon"}, NOW),
        (BODY, {"webhook-signature": "v1,"}, NOW),
        (BODY, {"webhook-signature": "v2" + HEADERS["webhook-signature"][2:]}, NOW),
        (BODY, {"webhook-signature": "v1,\u00e4"}, NOW),
        (BODY, {}, NOW + 301),
        (BODY, {}, NOW - 301),
    ],
)
def test_messages_of_others(body: str, changed: dict[str, str], now: float) -> None:
    with pytest.raises(WebhookRefused):
        Webhook(SECRET).verify(body, HEADERS | changed, now=now)


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_a_header_is_missing(name: str) -> None:
    headers = {key: value for key, value in HEADERS.items() if key != name}
    with pytest.raises(WebhookRefused):
        Webhook(SECRET).verify(BODY, headers, now=NOW)


def test_another_secret() -> None:
    with pytest.raises(WebhookRefused):
        Webhook(OTHER).verify(BODY, HEADERS, now=NOW)


@pytest.mark.parametrize("secrets", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%", []])
def test_what_is_no_secret(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        Webhook(secrets)
