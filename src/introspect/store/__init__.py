"""The store: activations on disk that survive kills, damage and strangers."""

from .averaging import averages
from .behind import OneBehind
from .encode import EncodedPart, encode_part
from .layout import PartInfo
from .reader import StoreReader
from .spec import MANIFEST, Site, StoreSpec, estimated_bytes
from .upgrade import upgrade
from .verify import VerifyReport, verify
from .writer import StagedPart, StoreWriter, check_spec, set_aside, stage_part

__all__ = [
    "MANIFEST",
    "EncodedPart",
    "OneBehind",
    "PartInfo",
    "Site",
    "StagedPart",
    "StoreReader",
    "StoreSpec",
    "StoreWriter",
    "VerifyReport",
    "averages",
    "check_spec",
    "encode_part",
    "estimated_bytes",
    "set_aside",
    "stage_part",
    "upgrade",
    "verify",
]
