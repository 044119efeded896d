"""The spec of a study: which ordinary runs it is made of, as a frozen object read from YAML.

A study's YAML has a key `study` that says which kind it is; everything else of it decides numbers. Making a spec
validates it and its experiments, and loads no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from ..assets import spec_path, user_path
from ..errors import SpecError
from ..experiment import Experiment, Limit, load_experiment
from ..sections import Section, Spec, Text, distinct
from ..spec_file import study_of

Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)]
Overrides = dict[Text, JsonValue]
"""Fields of an experiment -> their values; keys may be dotted, and sections may be nested."""
BARE = "none"
"""Stands for the model without an adapter."""
MARKER = "study.yaml"
"""What says of a folder that it is a study, and of what."""


def _read_limit(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"id": value, "ood": value}
    return value


class StudySpec(Spec):
    """What every study has."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    """A word; names the study's folder."""
    question: Text
    """What the study asks, in one sentence."""
    limit: Annotated[Limit | None, BeforeValidator(_read_limit)] = None
    """At most so many items of each split in every run; null: as each experiment says."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start of every source of chance, in every run and across them."""

    def _experiment(self, name_or_file: str, changes: Mapping[str, JsonValue], organism: str, where: str) -> Experiment:
        """An experiment with this study's changes, on an organism.

        Raises:
            SpecError: there is no such experiment, or a change does not fit it. Names `where` in the study.
        """
        limits = {} if self.limit is None else {f"limit.{k}": v for k, v in self.limit if v is not None}
        given = {"seed": self.seed, **dict(flattened(changes)), **limits, "negative_control": None}
        given |= _subject(organism)
        overrides = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
        try:
            if study_of(spec_path(name_or_file)) is not None:
                raise SpecError(f"{name_or_file} is a study; name an experiment")
            return load_experiment(name_or_file, overrides)
        except SpecError as error:
            raise SpecError(f"{self.name}: {where}: {error}") from None


class TaskSpec(Section):
    """One task of a comparison: an experiment, and the organisms that it is run on."""

    experiment: Text
    """A name from `introspect list experiments`, or a YAML file."""
    set: Overrides = Field(default_factory=dict)
    """Fields of the experiment that are replaced, such as `probe.bootstrap: 500`."""
    organisms: Annotated[dict[Word, Annotated[tuple[Text, ...], Field(min_length=1)]], Field(min_length=1)]
    """Method -> its organisms, one a seed of training: names, folders of adapters or (with a `/`) of whole models, or
    `none` for the bare model."""

    @field_validator("organisms")
    @classmethod
    def _organisms_differ(cls, organisms: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        distinct(tuple(organism for each in organisms.values() for organism in each))
        return organisms


@dataclass(frozen=True)
class Member:
    """One run of a comparison."""

    task: str
    method: str
    seed: int
    """Which of the method's organisms, from 0."""
    organism: str
    """As in the spec; `none` for the bare model."""

    @property
    def name(self) -> str:
        """The member's, and its folder's: `risk-sft`, `risk-sft-1`, ..."""
        return f"{self.task}-{self.method}" + (f"-{self.seed}" if self.seed else "")


class CompareMethods(StudySpec):
    """One policy a task, planted by several methods: what each did to behaviour, words and activations."""

    study: Literal["compare-methods"]
    """The kind of study."""
    methods: Annotated[dict[Word, Text], Field(min_length=2)]
    """Method -> what it is, in a few words; in the order of the table."""
    reference: Word = "start"
    """The method that the others are held against."""
    tasks: Annotated[dict[Word, TaskSpec], Field(min_length=1)]
    """Task -> its experiment and organisms."""
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Resamples behind each interval across runs, and permutations behind each test."""

    @model_validator(mode="after")
    def _methods_are_known(self) -> Self:
        if self.reference not in self.methods:
            raise ValueError(f"reference is {self.reference!r}; choose one of the methods {', '.join(self.methods)}")
        for task, asked in self.tasks.items():
            for method in asked.organisms:
                if method not in self.methods:
                    raise ValueError(
                        f"tasks.{task}.organisms: {method!r} is none of the methods {', '.join(self.methods)}; "
                        "add it to methods, or leave it out"
                    )
        names = [member.name for member in self.members()]
        distinct(tuple(names))
        return self

    def members(self) -> list[Member]:
        """Every run, task by task, in the order of the methods."""
        return [
            Member(task, method, seed, organism)
            for task, asked in self.tasks.items()
            for method in self.methods
            for seed, organism in enumerate(asked.organisms.get(method, ()))
        ]

    def experiment(self, member: Member) -> Experiment:
        """What a member runs.

        Raises:
            SpecError: there is no such experiment, or a change does not fit it.
        """
        asked = self.tasks[member.task]
        return self._experiment(asked.experiment, asked.set, member.organism, f"tasks.{member.task}")


class Trajectory(StudySpec):
    """One organism measured along its training."""

    study: Literal["trajectory"]
    """The kind of study."""
    recipe: Text
    """A name from `introspect list recipes`, or a YAML file."""
    steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)]
    """Optimiser steps of the recipe's last stage at which the organism is measured, ascending; 0: before the first."""
    experiment: Text
    """What is run at each step: a name from `introspect list experiments`, or a YAML file."""
    set: Overrides = Field(default_factory=dict)
    """Fields of the experiment that are replaced."""
    training_seed: Annotated[int, Field(ge=0, le=4_000_000)] | None = None
    """Seed of the training; null: the recipe's."""

    @field_validator("steps")
    @classmethod
    def _steps_ascend(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError("steps must ascend, each there once")
        return steps

    def at(self, organism: str | Path) -> Experiment:
        """What is run on the organism as it is at a step, given the folder of its adapter (`none`: the bare model).

        Raises:
            SpecError: there is no such experiment, or a change does not fit it.
        """
        return self._experiment(self.experiment, self.set, str(organism), "experiment")


Study = CompareMethods | Trajectory


def _subject(organism: str) -> dict[str, JsonValue]:
    """The fields of an experiment that put an organism in: an adapter, a whole model's folder, or neither."""
    if organism == BARE:
        return {"organism": None}
    folder = user_path(organism)
    whole = (folder / "config.json").exists() and not (folder / "adapter_config.json").exists()
    if "/" in organism and whole:
        return {"model": organism, "organism": None, "revision": None}
    return {"organism": organism}


def flattened(changes: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Dotted key -> value, sections taken apart: a change of one field leaves the others of its section."""
    for key, value in changes.items():
        if isinstance(value, dict) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
