"""Legacy's error -32042 (a person has to open a URL first) for Modern clients, who are asked that in a result.

The client shows the URL and asks again; the backend wants nothing but the same call again.
"""

from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.ask import Ask, fields_of
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import Era
from vmcp.mcp.jsonrpc import JsonRpcError

OPENED_STATE: Final = "vmcp-url-opened"


class _Elicitations(msgspec.Struct):
    elicitations: list[Raw]


class _Declared(msgspec.Struct):
    elicitation: dict[str, Raw] = {}


def links_to_open(ask: Ask, error: JsonRpcError) -> bytes | None:
    """The `input_required` result for that error; None where it is another, or the client opens no URLs."""
    if error.code != jsonrpc.URL_ELICITATION_REQUIRED or ask.era is not Era.MODERN:
        return None
    if isinstance(error.data, msgspec.UnsetType):
        return None
    try:
        if "url" not in msgspec.json.decode(ask.capabilities, type=_Declared).elicitation:
            return None
        wanted = msgspec.json.decode(error.data, type=_Elicitations).elicitations
        questions = {f"url{number}": _question(params) for number, params in enumerate(wanted)}
    except ValueError:
        return None
    return msgspec.json.encode(
        {"resultType": "input_required", "inputRequests": questions, "requestState": OPENED_STATE}
    )


def _question(params: Raw) -> dict[str, object]:
    # Modern knows no id of an elicitation: its completion is not told.
    fields = fields_of(params)
    fields.pop("elicitationId", None)
    return {"method": "elicitation/create", "params": fields}
