"""PostgreSQL, Valkey and a Kubernetes API as child processes on free ports, for one machine."""
