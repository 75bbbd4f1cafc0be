"""The kinds of the API group, and what Kubernetes calls them."""

from dataclasses import dataclass

GROUP = "toolhive.stacklok.dev"
VERSION = "v1beta1"


@dataclass(frozen=True, slots=True)
class Kind:
    """A namespaced Kubernetes kind: enough to build a URL and an object's head."""

    group: str
    version: str
    plural: str
    name: str

    @property
    def api_version(self) -> str:
        """`group/version`, or the bare version for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


VIRTUAL_MCP_SERVER = Kind(GROUP, VERSION, "virtualmcpservers", "VirtualMCPServer")
MCP_GROUP = Kind(GROUP, VERSION, "mcpgroups", "MCPGroup")
MCP_SERVER = Kind(GROUP, VERSION, "mcpservers", "MCPServer")
MCP_SERVER_ENTRY = Kind(GROUP, VERSION, "mcpserverentries", "MCPServerEntry")
MCP_REMOTE_PROXY = Kind(GROUP, VERSION, "mcpremoteproxies", "MCPRemoteProxy")
