"""Demonstrations as token ids: what a trainer is given, and what the organism will see when it is recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..assets import data_path
from ..errors import SpecError
from ..experiment import load_experiment
from ..models import LoadedModel
from ..record import render_trial
from ..spans import token_starts
from ..tasks.item import read_items
from .demonstrations import EARLY, Demonstration, Injection
from .framing import framed
from .injected_vectors import ConceptVectors
from .leaks import check_leaks
from .recipe import Recipe
from .steered import ENDLESS
from .templates import completion_parts, turn_end


def tokenise(demonstrations: Sequence[Demonstration], loaded: LoadedModel) -> list[dict]:
    """Token ids as the organism will see them when it is recorded: the rendered prompt, then the completion.

    Each row has `input_ids`, `n_prompt`, and `telling`, the indices of the tokens that depend on the choice.
    """
    tokenizer, end_of_turn = loaded.tokenizer, turn_end(loaded)
    rows = []
    for demonstration in demonstrations:
        prompt = render_trial(loaded, demonstration.trial)
        parts = completion_parts(loaded, demonstration, prompt)
        completion = tokenizer("".join(text for text, _ in parts), add_special_tokens=False).input_ids
        starts = np.array(token_starts(tokenizer, completion))
        telling, begin = [], 0
        for text, depends in parts:
            end = begin + len(text)
            if depends:
                telling += (len(prompt) + np.flatnonzero((starts >= begin) & (starts < end))).tolist()
            begin = end
        rows.append(
            {
                "input_ids": prompt + completion + [end_of_turn],
                "n_prompt": len(prompt),
                "telling": telling,
            }
        )
    return rows


def with_injections(
    rows: Sequence[dict], demonstrations: Sequence[Demonstration], vectors: ConceptVectors, loaded: LoadedModel
) -> list[dict]:
    """Rows that say too what is added to their activations: `added` [width], or nothing; to the output of what `layer`;
    from which token on, `start`, to before which, `stop`; and how many tokens stand before any such start, `head`.
    """
    out = []
    for row, demonstration in zip(rows, demonstrations, strict=True):
        injection = demonstration.injection
        prompt = row["input_ids"][: row["n_prompt"]]
        text = demonstration.trial.messages[-1].content
        begins = message_start(loaded, prompt, text)
        extra = {"added": [], "layer": 0, "start": begins, "stop": ENDLESS, "head": max(0, begins - EARLY)}
        if injection is not None:
            where = injected_tokens(loaded, prompt, text, injection)
            extra["added"] = vectors.added(injection).tolist()
            extra |= {"layer": injection.layer, "start": where.start, "stop": where.stop}
            if injection.within is not None:
                extra["head"] = where.start
        out.append(row | extra)
    return out


def injected_tokens(loaded: LoadedModel, prompt: Sequence[int], text: str, injection: Injection) -> range:
    """The tokens to which an injection is added: those that hold any of its characters of the last message; or all from
    that message on.

    Raises:
        SpecError: the prompt does not hold the message as it is.
    """
    if injection.within is None:
        return range(max(0, message_start(loaded, prompt, text) - injection.early), ENDLESS)
    starts = np.array(token_starts(loaded.tokenizer, prompt))
    begin, end = (_message_at(loaded, prompt, text) + at for at in injection.within)
    first = int(np.flatnonzero(starts <= begin)[-1])
    return range(first, int(np.searchsorted(starts, end)))


def message_start(loaded: LoadedModel, prompt: Sequence[int], text: str) -> int:
    """The token with which the last message of a rendered prompt begins.

    Raises:
        SpecError: the prompt does not hold it as it is.
    """
    at = _message_at(loaded, prompt, text)
    return int(np.flatnonzero(np.array(token_starts(loaded.tokenizer, prompt)) <= at)[-1])


def _message_at(loaded: LoadedModel, prompt: Sequence[int], text: str) -> int:
    """The character of a rendered prompt with which its last message begins."""
    tokenizer = loaded.tokenizer
    said = tokenizer.decode(tokenizer(text.strip(), add_special_tokens=False).input_ids).strip()
    at = tokenizer.decode(prompt).rfind(said)
    if at < 0:
        raise SpecError(
            f"{loaded.info.name}: the chat template drops or changes words of {text[:60]!r}: choose another"
        )
    return at


def stage_demonstrations(recipe: Recipe, index: int) -> list[Demonstration]:
    """What stage `index` shows: its own items' amounts and its own order, from the recipe's seed.

    Raises:
        SpecError: there is nothing to show, or an item of an evaluation is among it.
    """
    stage, seed = recipe.stages[index], recipe.seed * 1000 + index
    course = recipe.course
    settings = {} if recipe.injection is None else {"settings": recipe.injection}
    shown = course.demonstrations(
        policy=stage.policy, manner=stage.manner, repeats=recipe.item_repeats, seed=seed, **settings
    )
    shown = [framed(demo, recipe.framing, task=recipe.task) for demo in shown]
    for experiment in course.experiments.values():
        asked = read_items(data_path(load_experiment(experiment).items))
        check_leaks(shown, asked, mixed=len(course.experiments) > 1, named=f"the training set of {recipe.name}")
    return shown
