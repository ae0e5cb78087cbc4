"""Runtime support that knows nothing of signals: settings, logs, metrics, health, shutdown, tasks, back-off, HTTP."""
