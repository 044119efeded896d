"""Transcripts: chains of thought that another program sampled, replayed to record their activations."""

from .replay import Recorded, ReplayCost, estimate_transcripts, record_transcripts
from .rollouts import as_rollouts
from .spec import ReplaySpec, read_replay_spec
from .transcript import Message, Transcript, read_transcripts

__all__ = [
    "Message",
    "Recorded",
    "ReplayCost",
    "ReplaySpec",
    "Transcript",
    "as_rollouts",
    "estimate_transcripts",
    "read_replay_spec",
    "read_transcripts",
    "record_transcripts",
]
