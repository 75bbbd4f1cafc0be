"""The workloads of MCPServers: what runs for one, as it should be and as it is seen."""
