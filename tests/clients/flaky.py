"""Networks that fail, in front of the real service."""

from collections.abc import Callable

import httpx

Fault = Callable[[httpx.Request], httpx.Response | None]


class FlakyNetwork(httpx.HTTPTransport):
    """Loses the answers to the first requests, after they have reached the service."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses
        self.sent: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.sent.append(request)
        if len(self.sent) <= self.losses:
            response.read()
            response.close()
            raise httpx.ReadError("the connection was cut")
        return response


class AnsweringProxy(httpx.HTTPTransport):
    """A proxy that answers some requests itself."""

    def __init__(self, answer: Fault) -> None:
        super().__init__()
        self._answer = answer
        self.passed: list[str] = []
        self.answered: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._answer(request)
        name = f"{request.method} {request.url.path}"
        if answer is not None:
            self.answered.append(name)
            return answer
        self.passed.append(name)
        return super().handle_request(request)
