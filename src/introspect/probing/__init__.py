"""What stands beside a probe in results.json: its metrics, its baselines, its controls."""

from .baselines import Baselines, baselines_section, position_texts
from .controls import Looked, controls_section
from .embedding import INPUT, NOT_ASKED, check_encoder, own_embedding, text_embedding
from .headline import headline_metrics
from .stage import Embedding, ProbeStage, SecondLabels

__all__ = [
    "INPUT",
    "NOT_ASKED",
    "Baselines",
    "Embedding",
    "Looked",
    "ProbeStage",
    "SecondLabels",
    "baselines_section",
    "check_encoder",
    "controls_section",
    "headline_metrics",
    "own_embedding",
    "position_texts",
    "text_embedding",
]
