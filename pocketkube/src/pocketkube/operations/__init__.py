"""What requests do: get, list, watch, create, update, patch, apply, delete, and garbage collection."""
