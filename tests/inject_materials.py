"""A few words and wordings that a tokenizer with a token a character can tell apart, and a subject made of them."""

from __future__ import annotations

from pathlib import Path

import yaml

from introspect.assets import assets_root
from introspect.injection.spec import Injection
from introspect.injection.subject import Subject, prepare_subject
from introspect.spec_kinds import load_spec
from scripted import save_roomy

ROOT = assets_root()
WORDS = {
    "things": {
        "about": "things",
        "concrete": True,
        "exploration": ["banana", "dolphin", "hammer"],
        "confirmation": ["apple", "cactus", "forest"],
        "baseline": ["spoon", "towel"],
        "control": ["kettle", "pencil"],
    },
    "ideas": {
        "about": "ideas",
        "concrete": False,
        "exploration": ["envy", "guilt", "logic"],
        "confirmation": ["irony", "mercy", "pride"],
        "baseline": ["tempo", "quota"],
        "control": ["warranty", "optics"],
    },
}
QUICK = (
    "depths=[0.5]",
    "strengths=[0.5, 1.0]",
    "bootstrap=100",
    "permutations=19",
    "dtype=float32",
    "text.max_new_tokens=4",
)


def write_files(folder: Path) -> list[str]:
    """Words and wordings in a folder, and the overrides that name them."""
    (folder / "words.yaml").write_text(yaml.safe_dump({"categories": WORDS}, sort_keys=False))
    prompts = (ROOT / "data" / "concepts" / "prompts.yaml").read_text(encoding="utf-8")
    # The tiny tokenizer has no double quote and no brace.
    (folder / "prompts.yaml").write_text(prompts.replace('\\"', "'"))
    return [f"words_file={folder / 'words.yaml'}", f"prompts_file={folder / 'prompts.yaml'}"]


def tiny_injection(folder: Path, kind: str = "inject-thought", *more: str) -> Injection:
    """A study of a tiny model that is saved in the folder."""
    model = folder / "model"
    if not model.exists():
        save_roomy(model)
    return load_spec(kind, [f"model={model}", *write_files(folder), *QUICK, *more])


def tiny_subject(folder: Path, kind: str = "inject-thought", *more: str) -> Subject:
    """The subject of such a study."""
    return prepare_subject(tiny_injection(folder, kind, *more))
