"""Probes that outlive their run: fitted again from it and kept with a card, and applied to other runs."""

from .applying import Applied, apply_probe, check_scores_path
from .saving import save_run_probe

__all__ = ["Applied", "apply_probe", "check_scores_path", "save_run_probe"]
