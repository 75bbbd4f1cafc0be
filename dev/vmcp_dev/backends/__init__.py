"""Small real MCP servers for the demo, the examples and their tests, each over streamable HTTP on 127.0.0.1."""
