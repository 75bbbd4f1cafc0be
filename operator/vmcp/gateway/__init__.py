"""The MCP gateway: one endpoint in front of many backends, routed by their health."""
