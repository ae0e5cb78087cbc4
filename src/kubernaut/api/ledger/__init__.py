"""The formats of the ledger's transparency log, and how to check them without a database or a network.

Hashing follows RFC 9162, which for trees and proofs is RFC 6962; the files are those of C2SP: signed-note,
tlog-checkpoint, tlog-tiles, tlog-cosignature and tlog-proof.
"""
