"""Talking to an API server: client, watch, informer cache, work queue, controller loop, events."""
