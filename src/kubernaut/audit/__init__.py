"""How audit events leave a process: durable spool, batches in order, retry, the DataStorage client."""

from kubernaut.audit.client import DataStorageClient, open_client
from kubernaut.audit.config import AuditConfig, ClientConfig, RetryConfig, SpoolConfig
from kubernaut.audit.delivery import Flushed
from kubernaut.audit.errors import (
    AuditError,
    Busy,
    NotFound,
    Refused,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    StoreClosed,
    StoreError,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from kubernaut.audit.store import AuditStore, open_store

__all__ = [
    "AuditConfig",
    "AuditError",
    "AuditStore",
    "Busy",
    "ClientConfig",
    "DataStorageClient",
    "Flushed",
    "NotFound",
    "Refused",
    "RetryConfig",
    "SpoolConfig",
    "SpoolError",
    "SpoolFull",
    "SpoolLocked",
    "StoreClosed",
    "StoreError",
    "TooLarge",
    "Unauthorized",
    "Unreachable",
    "open_client",
    "open_store",
]
