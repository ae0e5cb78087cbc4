"""How audit events leave a process: durable spool, batches in order, retry, the DataStorage client."""
