"""How audit events leave a process: durable spool, batches in order, retry, the DataStorage client."""

from kubernaut.audit.client import DataStorageClient, open_client
from kubernaut.audit.config import AuditConfig, ClientConfig, RetryConfig, SpoolConfig
from kubernaut.audit.delivery import FlushResult
from kubernaut.audit.errors import (
    AuditError,
    RequestTooLarge,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreRejected,
    StoreUnauthorized,
    StoreUnreachable,
    StoreUnrecognized,
)
from kubernaut.audit.store import AuditStore, open_audit

__all__ = [
    "AuditConfig",
    "AuditError",
    "AuditStore",
    "ClientConfig",
    "DataStorageClient",
    "FlushResult",
    "RequestTooLarge",
    "RetryConfig",
    "SpoolConfig",
    "SpoolError",
    "SpoolFull",
    "SpoolLocked",
    "StoreBusy",
    "StoreClosed",
    "StoreError",
    "StoreRejected",
    "StoreUnauthorized",
    "StoreUnreachable",
    "StoreUnrecognized",
    "open_audit",
    "open_client",
]
