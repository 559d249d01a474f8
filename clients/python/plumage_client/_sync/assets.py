"""Pictures that are uploaded once and named by many jobs."""

from plumage_client._sync.transport import SyncTransport
from plumage_client.models import Asset
from plumage_client.pictures import Picture, read_picture

PATH = "/v1/assets"


class SyncAssets:
    """Every method raises ApiError when the API refuses, and NoConnection when it cannot be reached."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def upload(self, picture: Picture) -> Asset:
        """Keeps the picture, or keeps it longer when it is there already. Raises OSError."""
        response = self._transport.send("POST", PATH, files={"file": read_picture(picture)})
        return Asset.model_validate_json(response.content)

    def get(self, asset_id: str) -> Asset:
        response = self._transport.send("GET", f"{PATH}/{asset_id}")
        return Asset.model_validate_json(response.content)

    def delete(self, asset_id: str) -> None:
        """Jobs that were submitted with it are not affected."""
        self._transport.send("DELETE", f"{PATH}/{asset_id}")
