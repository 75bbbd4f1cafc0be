"""The operator as one process: how its parts are joined, its signs of life, its metrics and traces."""
