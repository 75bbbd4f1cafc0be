"""The API: models of every kind, the values they hold, and the CRDs made from them. Does no I/O."""
