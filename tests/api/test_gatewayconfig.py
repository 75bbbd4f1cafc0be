"""The gateway's config.yaml is read from YAML or JSON and written the same way every time."""

import json

import pytest
import yaml

from vmcp.api.gatewayconfig import (
    ConfigError,
    GatewayBackend,
    GatewayConfig,
    dump_gateway_config,
    load_gateway_config,
)

TEXT = """
name: sample
groupRef: team
incomingAuth: {type: anonymous}
aggregation: {conflictResolution: prefix, conflictResolutionConfig: {prefixFormat: "{workload}."}}
operational:
  failureHandling:
    healthCheckInterval: 10s
    circuitBreaker: {enabled: true, failureThreshold: 2}
backends:
- name: a
  url: http://a:8080/mcp
  transport: streamable-http
  headers: {X-Team: tools}
  authConfigured: true
  allowPrivate: true
  fingerprint: abc
- {name: b, url: "https://b/sse", transport: sse, unavailableReason: "outgoing auth is not supported yet"}
compositeTools:
- {name: both, steps: [{id: one, tool: a_read, arguments: {depth: 3}}]}
"""


def test_what_is_written_is_read_back_as_it_was() -> None:
    config = load_gateway_config(TEXT)
    assert load_gateway_config(dump_gateway_config(config)) == config
    assert config.backends[0].headers == {"X-Team": "tools"}
    assert config.backends[1].unavailable_reason


def test_a_time_that_some_clients_write_for_none_is_read_back() -> None:
    override = {"mode": "forcedOpen", "until": "0001-01-01T00:00:00Z"}
    handling = {"perBackend": {"a": {"override": override}}}
    config = load_gateway_config(
        json.dumps({"incomingAuth": {"type": "anonymous"}, "operational": {"failureHandling": handling}})
    )
    assert load_gateway_config(dump_gateway_config(config)) == config


def test_json_is_read_too() -> None:
    assert load_gateway_config(json.dumps(yaml.safe_load(TEXT))) == load_gateway_config(TEXT)


def test_equal_configurations_give_the_same_text_however_they_were_made() -> None:
    read = load_gateway_config(
        "incomingAuth: {type: anonymous}\nbackends: [{transport: sse, url: 'http://a', name: a}]"
    )
    made = GatewayConfig.model_validate(
        {
            "backends": [
                GatewayBackend.model_validate({"name": "a", "url": "http://a", "transport": "sse", "headers": {}})
            ],
            "incoming_auth": {"type": "anonymous"},
            "name": "vmcp",
        }
    )
    assert dump_gateway_config(read) == dump_gateway_config(made)


def test_the_operational_block_is_in_camel_case_and_nothing_unset_is_written() -> None:
    text = dump_gateway_config(load_gateway_config(TEXT))
    assert "circuitBreaker:\n      enabled: true\n" in text
    assert "null" not in text
    assert "healthCheckTimeout" not in text
    assert yaml.safe_load(text)["backends"][1] == {
        "name": "b",
        "transport": "sse",
        "unavailableReason": "outgoing auth is not supported yet",
        "url": "https://b/sse",
    }


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "", "must be an object"),
        ("- a", "", "must be an object"),
        ("a: [", "", "not valid YAML at line 1, column 5"),
        ("a: 2024-99-99", "", "not valid YAML"),
        ("[" * 10_000, "", "not valid YAML"),
        ("{}", "incomingAuth", "is required"),
        ("incomingAuht: {type: oidc}", "incomingAuth", "is required"),
        ("incomingAuth: {type: anonymous}\nbackends: 3", "backends", "must be a list"),
        (
            "incomingAuth: {type: anonymous}\nbackends: [{name: a, url: 'a:80', transport: sse}]",
            "backends[0].url",
            "must be a URL that starts with http:// or https://",
        ),
        (
            "incomingAuth: {type: anonymous}\nbackends: [{name: a, url: 'http://', transport: sse}]",
            "backends[0].url",
            "no host",
        ),
        (
            "incomingAuth: {type: anonymous}\n"
            "backends: [{name: a, url: 'http://a', transport: sse}, {name: a, url: 'http://b', transport: "
            "sse}]",
            "backends[1].name",
            "rename one of them",
        ),
        (
            "incomingAuth: {type: anonymous}\noperational: {failureHandling: {healthCheckInterval: 1e9h}}",
            "operational.failureHandling.healthCheckInterval",
            "must be a duration from 1s to 24h",
        ),
        (
            "incomingAuth: {type: anonymous}\noperational: {failureHandling: {healthCheckTimeout: 1m}}",
            "operational.failureHandling.healthCheckTimeout",
            "shorter than healthCheckInterval",
        ),
    ],
)
def test_a_wrong_configuration_names_the_field_and_the_fix(text: str, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_gateway_config(text)
    assert caught.value.path == path
    assert message in caught.value.message
