"""The embedded control plane, the local runner and the demo: for development and tests, never shipped."""
