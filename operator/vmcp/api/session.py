"""Where sessions are stored."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from vmcp.api.model import ApiModel, Int32, cel, rules
from vmcp.api.references import SecretKeyRef

_PORT = re.compile(r"[0-9]{1,5}")


def host_and_port(address: str | None) -> tuple[str, int] | None:
    """The two parts of an address such as `redis:6379` or `[::1]:6379`; None where it is none."""
    host, _, port = (address or "").rpartition(":")
    if not host or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


class SessionProvider(StrEnum):
    """What stores sessions."""

    MEMORY = "memory"
    REDIS = "redis"


class SessionAffinity(StrEnum):
    """Whether a client stays with one pod."""

    CLIENT_IP = "ClientIP"
    NONE = "None"


class SessionStorage(ApiModel):
    """Where sessions are stored."""

    model_config = rules(
        cel("self.provider != 'redis' || has(self.address)", "address is required when provider is 'redis'")
    )

    provider: SessionProvider = Field(description="memory = each pod its own; redis = shared by all pods.")
    address: str | None = Field(None, min_length=1, description="host:port of Redis; with provider redis.")
    db: Annotated[Int32, Field(ge=0)] = Field(0, description="Number of the Redis database. Default 0.")
    key_prefix: str | None = Field(None, description="What every key starts with.")
    password_ref: SecretKeyRef | None = Field(None, description="Secret that holds the password.")


class ConfigSessionStorage(ApiModel):
    """Where sessions are stored (resolved form)."""

    provider: SessionProvider = Field(description="memory = each pod its own; redis = shared by all pods.")
    address: str | None = Field(None, description="host:port of Redis.")
    db: Annotated[Int32, Field(ge=0)] = Field(0, description="Number of the Redis database. Default 0.")
    key_prefix: str | None = Field(None, description="What every key starts with.")
