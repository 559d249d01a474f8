"""Server-sent events, line by line. Reads nothing itself."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Event(NamedTuple):
    name: str
    data: str
    id: str


@dataclass
class EventReader:
    """Takes the lines of a stream, without their ends."""

    last_id: str = ""
    """To be sent as `Last-Event-ID` when the stream has to be opened again."""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def read(self, line: str) -> Event | None:
        """The event that this line ends, if it ends one."""
        if not line:
            return self._end()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self.last_id = value
        return None

    def _end(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        return Event(name or "message", "\n".join(data), self.last_id) if data else None
