"""What the health engine costs and how exact it is, beside Envoy and blackbox_exporter; `make bench-health`."""
