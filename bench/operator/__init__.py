"""What the operator costs and how fast it acts, as one process on an embedded control plane."""
