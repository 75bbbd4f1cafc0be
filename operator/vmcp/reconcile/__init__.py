"""Desired objects from a spec and its references (pure), and the one applier that writes them."""
