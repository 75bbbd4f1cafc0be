"""What replicas of a gateway share of their sessions, and where it is kept."""
