"""A reward model that lives on a server; needs httpx, numpy and pillow, and no torch."""

from sole.client.remote import (
    AsyncRemoteRewardModel,
    AsyncRemoteSession,
    RemoteRewardModel,
    RemoteSession,
)

__all__ = ["AsyncRemoteRewardModel", "AsyncRemoteSession", "RemoteRewardModel", "RemoteSession"]
