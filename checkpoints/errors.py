"""Why a checkpoint cannot be used.

CheckpointError
├── CheckpointNotFound      no such folder, or not downloadable
├── RevisionNotPinned       a hub id without a full commit hash
├── CheckpointMismatch      files that differ from the manifest, or no manifest where one is required
├── CheckpointUnsupported   readable, but not a model of the needed kind in safetensors
└── DeviceUnavailable       this machine lacks the chosen device or dtype
"""


class CheckpointError(Exception):
    """Base class. The message names the setting to change."""


class CheckpointNotFound(CheckpointError):
    pass


class RevisionNotPinned(CheckpointError):
    pass


class CheckpointMismatch(CheckpointError):
    pass


class CheckpointUnsupported(CheckpointError):
    pass


class DeviceUnavailable(CheckpointError):
    pass
