"""The store: activations on disk that survive kills, damage and strangers."""

from .layout import PartInfo, Site, StoreSpec, estimated_bytes
from .reader import StoreReader, VerifyReport, verify
from .writer import StoreWriter, set_aside

__all__ = [
    "PartInfo",
    "Site",
    "StoreReader",
    "StoreSpec",
    "StoreWriter",
    "VerifyReport",
    "estimated_bytes",
    "set_aside",
    "verify",
]
