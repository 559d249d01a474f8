"""A way to Redis on which answers can be lost: what is asked arrives, what is answered not always."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class LossyWay:
    """Forwards bytes between clients and a Redis on a unix socket. From a request on that contains `lose_after`,
    nothing comes back on that connection, and `lost` is set."""

    def __init__(self, upstream: str) -> None:
        self.lose_after: bytes | None = None
        self.lost = threading.Event()
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
                lost = threading.Event()
                threading.Thread(target=self._there, args=(client, server, lost), daemon=True).start()
                threading.Thread(target=self._back, args=(client, server, lost), daemon=True).start()

    def _there(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError), client, server:
            while data := client.recv(1 << 20):
                if self.lose_after and self.lose_after in data:
                    lost.set()
                    self.lost.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _back(client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 20):
                if not lost.is_set():
                    client.sendall(data)


@contextmanager
def lossy_way(url: str) -> Iterator[LossyWay]:
    way = LossyWay(url.removeprefix("unix://"))
    try:
        yield way
    finally:
        way.close()
