"""The store: activations on disk that survive kills, damage and strangers."""

from .behind import OneBehind
from .layout import MANIFEST, PartInfo, Site, StoreSpec, estimated_bytes
from .part import encode_part
from .reader import StoreReader, VerifyReport, verify
from .writer import StoreWriter, check_spec, set_aside

__all__ = [
    "MANIFEST",
    "OneBehind",
    "PartInfo",
    "Site",
    "StoreReader",
    "StoreSpec",
    "StoreWriter",
    "VerifyReport",
    "check_spec",
    "encode_part",
    "estimated_bytes",
    "set_aside",
    "verify",
]
