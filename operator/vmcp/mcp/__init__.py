"""MCP on the wire: JSON-RPC, both protocol eras, the backend client and the HTTP transport under it."""
