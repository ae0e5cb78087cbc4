"""What the integration suite of signal processing stands on: the run's services, each worker's controller, builders."""
