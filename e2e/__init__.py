"""The operator on a real kind cluster, installed by Helm: `make e2e`."""
