"""Kinds of specs: an experiment, and what says in `study` what it is a study of. Loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .assets import spec_path
from .errors import SpecError
from .experiment import Experiment
from .injection.spec import KINDS, Injection
from .natural.confidence_spec import Confidence
from .natural.cue_spec import WhichCue
from .natural.framing_spec import Framing
from .natural.neurofeedback_spec import Neurofeedback
from .natural.privileged_spec import PrivilegedAccess
from .natural.spec import NaturalSpec
from .spec_file import read_spec, study_of
from .studies.spec import CompareMethods, Study, Trajectory
from .validation.spec import ValidateInstrument

AnySpec = Experiment | Study | ValidateInstrument | Injection | NaturalSpec
STUDIES: dict[str, type[Study | ValidateInstrument | Injection | NaturalSpec]] = {
    "compare-methods": CompareMethods,
    "trajectory": Trajectory,
    "validate-instrument": ValidateInstrument,
    **dict.fromkeys(KINDS, Injection),
    "neurofeedback": Neurofeedback,
    "confidence": Confidence,
    "privileged-access": PrivilegedAccess,
    "which-cue": WhichCue,
    "framing": Framing,
}
"""What a spec says in `study` -> its kind."""


def spec_kind(name_or_file: str | Path) -> type[AnySpec]:
    """The kind of the spec of that name, or in that file: an experiment where it does not say, or cannot be read.

    Raises:
        SpecError: there is nothing of that name, or no such kind of study.
    """
    path = spec_path(name_or_file)
    study = study_of(path)
    if study is not None and study not in STUDIES:
        raise SpecError(f"{path}: study: {study!r} is no kind of study; choose one of {', '.join(STUDIES)}")
    return Experiment if study is None else STUDIES[study]


def load_spec(name_or_file: str | Path, overrides: Sequence[str] = ()) -> AnySpec:
    """The spec of that name that ships with introspect, or the one in that file, with fields replaced.

    Raises:
        SpecError: it says nothing that can be run. Names the file (or the override) and the key.
    """
    return read_spec(spec_kind(name_or_file), spec_path(name_or_file), overrides)
