"""What calls show a gateway of its backends, as it tells the operator in its own Lease (design §6).

The text comes from a pod: whoever reads it believes nothing that is not within these bounds.
"""

from typing import Final

from pydantic import Field, ValidationError

from vmcp.api.model import ApiModel, Instant

ANNOTATION: Final = "toolhive.stacklok.dev/passive-health"
MOST_BACKENDS: Final = 16
MOST_CHARACTERS: Final = 16 * 1024


class Sighting(ApiModel):
    """What calls to one backend show."""

    name: str = Field(min_length=1, max_length=253, description="Name of the backend.")
    fingerprint: str = Field(max_length=64, description="Of the target that was called, as in the status.")
    failures: int = Field(0, ge=0, le=1_000_000, description="Calls in a row that did not reach it; 0 = the last did.")
    withheld: bool = Field(False, description="The gateway does not call it: a Secret gives no value for a header.")
    reached_seconds_ago: float | None = Field(
        None, ge=0, le=3600, allow_inf_nan=False, description="When a call was answered last; unset = not reported."
    )


class PassiveReport(ApiModel):
    """The annotation's content."""

    replica: str = Field("", max_length=253, description="The gateway's pod.")
    time: Instant = Field(description="When it was written, by the gateway's clock; no two reports are equal by it.")
    backends: list[Sighting] = Field(max_length=MOST_BACKENDS, description="The backends that there is news of.")


def dump_report(report: PassiveReport) -> str:
    """The report as the annotation's text."""
    return report.model_dump_json(by_alias=True, exclude_none=True)


def load_report(text: object) -> PassiveReport | None:
    """The report in an annotation; None when it is none, or one beyond its bounds."""
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        return None
    try:
        return PassiveReport.model_validate_json(text)
    except ValidationError:
        return None
