"""What the system does per second, measured; each module prints one line `name value unit ratio=…`."""
