pytest_plugins = ["vmcp_dev.pytest_fixtures"]
