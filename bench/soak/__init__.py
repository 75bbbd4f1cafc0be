"""The operator for 20 minutes among backends that flap: memory and lateness over time."""
