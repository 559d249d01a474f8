"""Links that the object store signs itself: each opens one object, and nothing can be made of it for another's.

moto answers every request, however it is signed. So what stands in front of it checks signatures of links as S3 does.
"""

import hmac
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import Request, urlopen

import httpx
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer

from service.settings import ServiceSettings
from tests.contract.http import player
from tests.contract.http.conftest import REFERENCE, TARGET, Stack, StartStack
from tests.faults.store_proxy import Handler, proxy_before

REGION = "us-east-1"
SECRET = "test"
FILES = ("result", "matches", "matches_picture")


class Checked(Handler):
    """Lets pass what is signed: by a header, which is the service's own, or by the query."""

    def handle_any(self) -> None:
        if "Authorization" not in self.headers and not self._signed():
            return self.answer(403, [], b"", 0)
        return super().handle_any()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def _signed(self) -> bool:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        given = query.pop("X-Amz-Signature", "")
        url = f"http://{self.headers['Host']}{parts.path}?{urlencode(query)}"
        request = AWSRequest(method=self.command, url=url, headers={"host": self.headers["Host"]})
        request.context["timestamp"] = query.get("X-Amz-Date", "")
        signer = S3SigV4QueryAuth(Credentials(SECRET, SECRET), "s3", REGION)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return hmac.compare_digest(given, signer.signature(text, request))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with urlopen(Request(f"http://{host}:{port}/plumage", method="PUT")) as created:
        assert created.status == 200
    with proxy_before((host, port), Checked) as (url, _):
        variables = {"ENDPOINT_URL": url, "ACCESS_KEY_ID": SECRET, "SECRET_ACCESS_KEY": SECRET, "REGION": REGION}
        for name, value in variables.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield "s3://plumage/prefix"
    server.stop()


def finished(stack: Stack, tenant: str) -> dict[str, Any]:
    """The links to everything that one transfer of this tenant has made."""
    key = stack.keys.create(tenant, ["submit", "read"])[0]  # type: ignore[list-item]
    pictures = [("target", ("a.png", TARGET)), ("reference", ("b.jpg", REFERENCE))]
    headers = {"Authorization": f"Bearer {key}"}
    record = stack.http.post("/v1/transfers", files=pictures, headers=headers).json()
    player.finish(stack, player.claim(stack))
    result = stack.http.get(record["urls"]["self"], headers=headers).json()["result"]
    return {name: result["url"] if name == "result" else result[name]["url"] for name in FILES}


def test_a_link_of_the_store_opens_its_own_file_only(start_stack: StartStack, bucket: str) -> None:
    stack = start_stack(ServiceSettings(require_keys=True), objects_url=bucket)
    alice, bob = finished(stack, "alice"), finished(stack, "bob")
    with httpx.Client(trust_env=False) as http:
        for link in (*alice.values(), *bob.values()):
            assert "/v1/files/" not in link
            assert http.get(link).status_code == 200
            for method in ("PUT", "DELETE"):
                assert http.request(method, link).status_code == 403, method
            parts = urlsplit(link)
            assert http.get(parts._replace(path="/plumage").geturl()).status_code == 403, "a list of the bucket"
            assert http.get(parts._replace(query="").geturl()).status_code == 403
            longer = parts.query.replace("X-Amz-Expires=", "X-Amz-Expires=1")
            assert http.get(parts._replace(query=longer).geturl()).status_code == 403
        for mine in bob.values():
            for theirs in alice.values():
                forged = urlsplit(theirs)._replace(query=urlsplit(mine).query).geturl()
                assert http.get(forged).status_code == 403, forged
