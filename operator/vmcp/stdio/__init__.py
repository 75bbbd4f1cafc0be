"""`vmcp stdio`: an MCP server that speaks on its stdin and stdout, served over HTTP to many clients at once."""
