pytest_plugins = ["support.services"]
