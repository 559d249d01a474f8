"""Why a checkpoint cannot be used.

CheckpointError
├── CheckpointNotFound      no such folder, or the hub does not give it
├── RevisionNotPinned       a hub id without a full commit hash
├── CheckpointMismatch      files that are not those of the manifest, or no manifest where one is asked for
├── CheckpointUnsupported   readable, but not a model of the needed kind in safetensors
└── DeviceUnavailable       the chosen device or dtype is not to be had here
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
