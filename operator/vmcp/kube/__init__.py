"""The operator's Kubernetes client: get, list, apply, each with a timeout and typed errors."""
