"""What every service needs and no signal knows of: settings, logs, metrics, health, shutdown, back-off."""
