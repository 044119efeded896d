"""Studies of natural states of a tiny model that has a token a character."""

from __future__ import annotations

from pathlib import Path

from introspect.natural.spec import NaturalSpec
from introspect.natural.study import STUDIES
from introspect.natural.subject import prepare_subject
from introspect.spec_kinds import load_spec
from scripted import save_roomy

QUICK: dict[str, tuple[str, ...]] = {
    "neurofeedback": (
        "limit=20",
        "components=[1]",
        "random=0",
        "examples=[2, 4]",
        "contexts=2",
        "control.examples=2",
        "control.contexts=1",
        "control.sentences=5",
        "control.written=2",
        "control.max_new_tokens=3",
        "control.random=3",
    ),
    "confidence": ("limit=24", "batch=8", "noise.draws=3", "noise.sizes=[1.0]", "noise.depths=[0.3, 0.6]", "folds=3"),
    "privileged-access": ("limit=16", "batch=16", "max_new_tokens=2", "folds=3"),
    "which-cue": (
        "organism=null",
        "limit=10",
        "batch=5",
        "kinds=[metadata, visual]",
        "wordings=1",
        "max_new_tokens=0",
        "depths=[0.5]",
        "folds=3",
    ),
    "framing": (
        "organism=null",
        "probe=null",
        "limit=10",
        "batch=5",
        "frames=[exam, permission]",
        "max_new_tokens=4",
        "depth=0.5",
        "folds=2",
    ),
}
"""What makes each kind small."""


def tiny_natural(folder: Path, kind: str, *more: str) -> NaturalSpec:
    """A study of a tiny model that is saved in the folder."""
    model = folder / "model"
    if not model.exists():
        save_roomy(model)
    return load_spec(kind, [f"model={model}", "dtype=float32", "bootstrap=100", *QUICK[kind], *more])


def tiny_study(folder: Path, kind: str, *more: str):
    """Such a study with its model."""
    spec = tiny_natural(folder, kind, *more)
    return STUDIES[spec.study](prepare_subject(spec))


def cells_of(results: dict, title: str) -> dict[str, list[dict]]:
    """The cells of each row of the table whose title begins so."""
    [found] = [each for each in results["tables"] if each["title"].startswith(title)]
    return {row["label"]: row["cells"] for row in found["rows"]}
