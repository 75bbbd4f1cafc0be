"""The status document (pure) and the one writer that puts it into `.status`."""
