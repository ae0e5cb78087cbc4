"""How alerts come in: Alertmanager webhooks become SignalProcessing objects."""
