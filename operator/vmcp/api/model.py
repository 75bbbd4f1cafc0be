"""What every model shares: camelCase names, and the marks that only a CRD schema knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from vmcp.api.duration import parse_duration

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"
DURATION_MAX_LENGTH = 20
# Go's durations end at 292 years, and CEL's duration() fails beyond. Six digits a number in at most
# DURATION_MAX_LENGTH characters stay below that, so rules test for this form before they convert.
_CONVERTIBLE = r"^([0-9]{1,6}([.][0-9]{1,6})?(ns|us|µs|ms|s|m|h))+$"

SchemaExtras = dict[str, JsonValue]


class ApiModel(BaseModel):
    """A frozen value of the API: snake_case here, camelCase outside, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class OpenModel(ApiModel):
    """A value whose further fields nothing reads yet: they are kept as they are."""

    model_config = ConfigDict(extra="allow")


OpenObject = dict[str, JsonValue]
"""An object of any content, kept as it is."""


def cel(expression: str, message: str) -> SchemaExtras:
    """One validation rule of the API server: what must hold, and what to do when it does not."""
    return {"rule": expression, "message": message}


def rules(*validations: SchemaExtras) -> ConfigDict:
    """The `model_config` of a model that carries rules of the API server."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": list(validations)})


def extras(**marks: JsonValue) -> SchemaExtras:
    """Schema keys without their prefix: `list_type="map"` is `x-kubernetes-list-type`."""
    return {"x-kubernetes-" + name.replace("_", "-"): value for name, value in marks.items()}


def list_map(*keys: str) -> SchemaExtras:
    """A list whose items are told apart by these fields; the API server refuses two alike."""
    return extras(list_type="map", list_map_keys=list(keys))


def convertible(*names: str) -> str:
    """A CEL condition: every one of these strings can safely be given to duration()."""
    return f"[{', '.join(names)}].all(d, d.matches('{_CONVERTIBLE}'))"


def duration_order(smaller: str, operator: str, larger: str) -> str:
    """A CEL condition on two optional duration fields; it holds when either is unset or malformed.

    A malformed one is refused by its own rule, and one message is enough.
    """
    left, right = f"self.{smaller}", f"self.{larger}"
    return (
        f"!has({left}) || !has({right}) || !({convertible(left, right)}) || "
        f"duration({left}) {operator} duration({right})"
    )


@dataclass(frozen=True, slots=True)
class DurationRange:
    """Marks a string field as a duration between two bounds, for Python and for the API server."""

    minimum: str
    maximum: str = "24h"
    also: tuple[tuple[str, str], ...] = ()
    """Further rules (expression, message) that existing clients know by their message."""

    @property
    def message(self) -> str:
        """What a person should write instead."""
        return f"must be a duration from {self.minimum} to {self.maximum}, such as 30s or 1m30s"

    def check(self, text: str) -> str:
        """The text itself.

        Raises:
            PydanticCustomError: it is no duration or out of bounds.
        """
        try:
            seconds = parse_duration(text)
        except ValueError:
            seconds = -1.0
        fits = parse_duration(self.minimum) <= seconds <= parse_duration(self.maximum)
        if not fits or len(text) > DURATION_MAX_LENGTH:
            found = text if len(text) <= DURATION_MAX_LENGTH else text[:DURATION_MAX_LENGTH] + "…"
            raise PydanticCustomError("duration", "{message}", {"message": f"is {found!r}; {self.message}"})
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        bounds = (
            f"self.matches('{_CONVERTIBLE}') && duration(self) >= duration('{self.minimum}') "
            f"&& duration(self) <= duration('{self.maximum}')"
        )
        validations = [cel(expression, message) for expression, message in self.also]
        return {
            **handler(schema),
            "pattern": DURATION_PATTERN,
            "maxLength": DURATION_MAX_LENGTH,
            "x-kubernetes-validations": [*validations, cel(bounds, self.message)],
        }


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside the years 1 to 9999 in UTC") from None


def _to_second(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _to_millisecond(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


Timestamp = Annotated[datetime, AfterValidator(_utc), PlainSerializer(_to_second, return_type=str)]
"""A UTC time, written to the second as Kubernetes does."""

Instant = Annotated[datetime, AfterValidator(_utc), PlainSerializer(_to_millisecond, return_type=str)]
"""A UTC time, written to the millisecond: for what is read back and must not end early."""

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31, json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63, json_schema_extra={"format": "int64"})]


class ObjectMeta(ApiModel):
    """The part of an object's metadata that we read."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
