"""The kinds of studies of natural states, by what their specs say in `study`. Loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..assets import spec_path
from ..errors import SpecError
from ..spec_file import read_spec, study_of
from .confidence_spec import Confidence
from .cue_spec import WhichCue
from .framing_spec import Framing
from .neurofeedback_spec import Neurofeedback
from .privileged_spec import PrivilegedAccess
from .spec import MARKER, NaturalSpec

SPECS: dict[str, type[NaturalSpec]] = {
    "neurofeedback": Neurofeedback,
    "confidence": Confidence,
    "privileged-access": PrivilegedAccess,
    "which-cue": WhichCue,
    "framing": Framing,
}


def is_natural(name_or_file: str | Path) -> bool:
    """Whether a name or a file is a study of natural states. A file that cannot be read is none.

    Raises:
        SpecError: there is nothing of that name.
    """
    return study_of(spec_path(name_or_file)) in SPECS


def is_natural_folder(out: Path) -> bool:
    """Whether a folder is that of a study of natural states."""
    return (out / MARKER).exists()


def load_natural(name_or_file: str | Path, overrides: Sequence[str] = ()) -> NaturalSpec:
    """The study of that name that ships with introspect, or the one in that file, with fields replaced.

    Raises:
        SpecError: it says nothing that can be run. Names the file (or the override) and the key.
    """
    path = spec_path(name_or_file)
    found = SPECS.get(study_of(path) or "")
    if found is None:
        raise SpecError(f"{path} is no study of natural states: its `study` is none of {', '.join(SPECS)}")
    return read_spec(found, path, overrides)
