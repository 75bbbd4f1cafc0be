"""Rate limits: of a VirtualMCPServer's config and of an MCPServer."""

from typing import Annotated

from pydantic import Field

from vmcp.api.model import ApiModel, Int32, cel, list_map, rules


class TokenBucket(ApiModel):
    """A bucket of tokens, one a call, refilled evenly."""

    max_tokens: Annotated[Int32, Field(ge=1)] = Field(description="Calls that a full bucket allows.")
    refill_period: str = Field(description="Time in which an empty bucket fills up, such as 1m.")


class ToolRateLimit(ApiModel):
    """The limits of one tool."""

    model_config = rules(
        cel("has(self.shared) || has(self.perUser)", "at least one of shared or perUser must be configured")
    )

    name: str = Field(min_length=1, description="Name of the tool.")
    shared: TokenBucket | None = Field(None, description="Limit for all callers together.")
    per_user: TokenBucket | None = Field(None, description="Limit for each user.")


class RateLimiting(ApiModel):
    """Limits on calls."""

    model_config = rules(
        cel(
            "has(self.shared) || has(self.perUser) || (has(self.tools) && size(self.tools) > 0)",
            "at least one of shared, perUser, or tools must be configured",
        )
    )

    shared: TokenBucket | None = Field(None, description="Limit for all callers together.")
    per_user: TokenBucket | None = Field(None, description="Limit for each user.")
    tools: list[ToolRateLimit] | None = Field(
        None, description="Limits of single tools.", json_schema_extra=list_map("name")
    )
