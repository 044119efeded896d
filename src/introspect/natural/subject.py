"""What a study of natural states is about: a model, and prompts rendered for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..backends import Capture, ModelBackend, make_backend
from ..forced import Forced, Ids, OptionIds, answer_lead, forced_answers, option_ids
from ..models import LoadedModel, render_messages, resolve
from ..models.load import digest_of, fetch
from ..models.source import hub_is_off
from ..plan import rollout_seed
from ..prepare import load_subject
from .spec import NaturalSpec

SITE = "resid_post"
"""Where activations are read."""


@dataclass(frozen=True)
class Subject:
    """A spec with its model."""

    spec: NaturalSpec
    loaded: LoadedModel
    backend: ModelBackend
    offline: bool = False
    """Whether no hub was asked."""
    _rendered: dict[tuple[tuple[str, str], ...], Ids] = field(default_factory=dict, repr=False)
    _options: dict[tuple[str, ...], OptionIds] = field(default_factory=dict, repr=False)

    def render(self, messages: Sequence[Mapping[str, str]]) -> Ids:
        """Token ids of a chat up to where the assistant begins. Each is rendered once."""
        key = tuple((each["role"], each["content"]) for each in messages)
        if key not in self._rendered:
            self._rendered[key] = tuple(render_messages(self.loaded, messages))
        return self._rendered[key]

    def asked(self, question: str, before: Sequence[Mapping[str, str]] = ()) -> Ids:
        """Token ids of a user's message after other messages, up to where the assistant begins."""
        return self.render([*before, {"role": "user", "content": question}])

    def led(self, prompt: Ids, lead: str) -> Ids:
        """A prompt with what has the model answer at once: a think block that is closed, and a text."""
        return (*prompt, *answer_lead(self.loaded, prompt, lead))

    def options(self, names: Sequence[str]) -> OptionIds:
        """Name -> its tokens after a lead that ends in a colon."""
        key = tuple(names)
        if key not in self._options:
            self._options[key] = option_ids(self.loaded.tokenizer, names)
        return self._options[key]

    def forced(self, prefixes: Sequence[Ids], names: Sequence[Sequence[str]]) -> list[Forced]:
        """The distribution over each prefix's own answers, in order."""
        options = [self.options(each) for each in names]
        return forced_answers(self.backend, prefixes, options, lanes=self.spec.batch_size)

    def seed_of(self, *name: object) -> int:
        """A seed of its own for each name."""
        return rollout_seed(self.spec.seed, "/".join(map(str, name)), self.spec.study, 0)


def n_shared(prompts: Sequence[Ids]) -> int:
    """How many first tokens all prompts have in common."""
    first, last = min(prompts), max(prompts)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def weights_of(name: str, *, offline: bool = False) -> dict[str, str | None]:
    """Name, revision and weight digest of a model, which is not loaded.

    Raises:
        ModelError: there is no such model, or its files cannot be read or had.
    """
    source = resolve(name, offline=offline)
    digest = digest_of(source, fetch(source, offline=offline or hub_is_off()))
    return {"name": name, "revision": source.revision, "weight_digest": digest}


def prepare_subject(spec: NaturalSpec, *, offline: bool = False) -> Subject:
    """Load the model. Writes nothing.

    Raises:
        ModelError: the model or its adapter cannot be loaded.
        SpecError: there is no such backend, or it does not record what is asked for.
    """
    loaded = load_subject(spec, offline=offline)
    return Subject(spec, loaded, make_backend(spec.backend, loaded.model, Capture((SITE,), (0,))), offline)
