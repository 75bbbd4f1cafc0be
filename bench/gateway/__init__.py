"""What a call through the gateway costs, beside Envoy's MCP router and FastMCP's proxy; `make bench-gateway`."""
