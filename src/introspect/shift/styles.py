"""The styles there are, and what each makes of a rollout: another prompt, or another completion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from ..assets import assets_root, user_path
from ..errors import SpecError
from ..models import LoadedModel, render_messages
from ..plan import Job
from ..record import render_trial
from ..rollout import Rollout
from ..sections import Section
from ..spec_file import read_spec
from .language import Language
from .paraphrase import NO_CHAIN, ParaphraseRules, reworded_completion
from .template import ChatTemplate, check_holds, with_template

Kind = Literal["paraphrase", "template", "language"]
KINDS: tuple[Kind, ...] = ("paraphrase", "template", "language")
FOLDERS = {"template": "templates", "language": "languages"}
"""Kind -> folder of `data` that has a file for each."""
USUAL = {"template": "plain", "language": "german"}
"""What a bare kind means."""
NOTES: dict[Kind, str] = {
    "paraphrase": (
        "Prompts, numbers and names of options are as they were, so a probe of last_prompt reads what it read there, "
        "and is not tried by this style."
    ),
    "template": "Chains and answers are the same tokens as in the source, the one that ends a turn too.",
    "language": (
        "Only the prompt is in another language: chains, names of options and the word Answer: stay as they were."
    ),
}
"""What stays as it was."""

S = TypeVar("S", bound=Section)


class Draft(NamedTuple):
    """A rollout in another style."""

    job: Job
    """With the new prompt."""
    completion_ids: list[int]


Rewrite = Callable[[Job, Rollout], Draft | str]
"""What was asked and the rollout -> it in another style, or why there is none."""


@dataclass(frozen=True)
class Style:
    """A style, and the rules by which rollouts are put into it."""

    name: str
    """As it is written: `paraphrase`, `template:alpaca`, `language:french`."""
    slug: str
    """The same as the name of a folder."""
    kind: Kind
    rules: ParaphraseRules | ChatTemplate | Language

    def note(self, task: str) -> str:
        """What stays as it was in this task, in a sentence or two.

        Raises:
            SpecError: there is no such style of this task.
        """
        if isinstance(self.rules, Language):
            kept = " Lines that it has no words for (questions and their options) stay as they were."
            return NOTES["language"] + kept * self.rules.words(task).keep_other_lines
        return NOTES[self.kind]

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of the rules."""
        return hashlib.sha256(self.rules.model_dump_json().encode()).hexdigest()

    def rewriter(self, loaded: LoadedModel) -> Rewrite:
        """What puts this model's rollouts into the style; raises SpecError as the rules do."""
        rules = self.rules
        if isinstance(rules, ParaphraseRules):
            return lambda job, rollout: _reworded(rules, loaded, job, rollout)
        if isinstance(rules, Language):
            return lambda job, rollout: _translated(rules, loaded, job, rollout)
        return lambda job, rollout: _in_template(rules, loaded, job, rollout)


def list_styles() -> dict[str, str]:
    """Name -> what it is, in one line, of the styles that ship with introspect."""
    templates = {f"template:{path.stem}": read_spec(ChatTemplate, path).summary for path in _files("template")}
    languages = {f"language:{path.stem}": read_spec(Language, path).summary for path in _files("language")}
    return {"paraphrase": _paraphrase_rules().summary} | templates | languages


def read_style(text: str) -> Style:
    """The style of that name: `paraphrase`, `template`, `template:NAME`, `language:FILE`, ...

    Raises:
        SpecError: there is no such style. Names those there are.
    """
    kind, colon, which = text.partition(":")
    if kind not in KINDS or (colon and not which) or (kind == "paraphrase" and colon):
        names = ", ".join(list_styles())
        raise SpecError(f"no style called {text!r}: choose from {names}; or give template:FILE or language:FILE")
    if kind == "paraphrase":
        return Style(text, text, "paraphrase", _paraphrase_rules())
    rules = _read(ChatTemplate, kind, which) if kind == "template" else _read(Language, kind, which)
    slug = f"{kind}-{rules.name}" if which else kind
    return Style(text, slug, "template" if kind == "template" else "language", rules)


def _files(kind: str) -> list[Path]:
    return sorted((assets_root() / "data" / FOLDERS[kind]).glob("*.yaml"))


def _paraphrase_rules() -> ParaphraseRules:
    return read_spec(ParaphraseRules, assets_root() / "data" / "paraphrase.yaml")


def _read(model: type[S], kind: str, which: str) -> S:
    """The file that is meant: what ends in `.yaml` or `.yml`, or holds a `/`, is one; anything else is a name."""
    if which.endswith((".yaml", ".yml")) or "/" in which:
        return read_spec(model, user_path(which))
    name = which or USUAL[kind]
    shipped = {path.stem: path for path in _files(kind)}
    if name not in shipped:
        near = get_close_matches(name, shipped, n=1)
        hint = (
            f"did you mean {kind}:{near[0]}?" if near else f"choose one of {', '.join(shipped)}, or give a .yaml file"
        )
        raise SpecError(f"no {kind} called {name!r}: {hint}")
    return read_spec(model, shipped[name])


def _reworded(rules: ParaphraseRules, loaded: LoadedModel, job: Job, rollout: Rollout) -> Draft | str:
    completion = reworded_completion(rollout, rules, loaded.tokenizer)
    return NO_CHAIN if completion is None else Draft(job, completion)


def _translated(language: Language, loaded: LoadedModel, job: Job, rollout: Rollout) -> Draft:
    trial, where = job.trial, f"item {job.item.item_id}"
    messages = tuple(language.translate(rollout.task, each, job.item.options, where) for each in trial.messages)
    new = replace(trial, messages=messages)
    return Draft(replace(job, trial=new, prompt_ids=tuple(render_trial(loaded, new))), rollout.completion_ids)


def _in_template(form: ChatTemplate, loaded: LoadedModel, job: Job, rollout: Rollout) -> Draft:
    messages = [message._asdict() for message in job.trial.messages]
    other = with_template(loaded, form, render_messages(loaded, messages))
    prompt = render_trial(other, job.trial)
    check_holds(loaded, form, job.trial.messages, prompt)
    return Draft(replace(job, prompt_ids=tuple(prompt)), rollout.completion_ids)
