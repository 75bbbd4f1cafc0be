"""Keeps a fleet of MCP servers usable: operator, health engine and gateway for VirtualMCPServer."""

__version__ = "0.1.0"
