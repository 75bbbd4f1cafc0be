"""Health of backends: breaker, tracker and policy (pure, time is an argument), scheduler and probe."""
