r"""Transcripts from elsewhere: chains of thought that another program sampled, replayed to record their activations.

A transcript is a line of JSON, or a sample of an Inspect log (`introspect.interchange.inspect_log`):

    {"prompt_ids": [1, 15, 27], "completion_ids": [8, 4, 2]}                        token ids, replayed as they are
    {"prompt": "2 + 2?", "completion": "<think>\nEasy.\n</think>\n\n4"}             text, tokenised here
    {"prompt": [{"role": "user", "content": "2 + 2?"}], "reasoning": "Easy.", "completion": "4", "id": "sum-1"}

Known trade-off: a prompt and a completion in text are tokenised each by itself, so that the prompt's last token is the
one the model saw. That is still an approximation, since the model may have drawn other tokens that spell the same text;
token ids are exact. What a transcript does not say stays empty: its rollout has no answer and no options, and `finish`
says only whether its ids end in a stop token.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ..errors import SpecError
from ..interchange.inspect_log import SUFFIXES, read_inspect_log
from ..tasks.item import Scalar

MAX_LINE_BYTES = 1 << 24
"""More than a million token ids."""
UNION = ("str", "int", "float", "bool")
"""What pydantic adds to the place of a value that may be of several types."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Message(_Strict):
    """A turn of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class Transcript(_Strict):
    """One completion of one prompt, in token ids or in text."""

    prompt_ids: Annotated[list[int], Field(min_length=1)] | None = None
    """The rendered prompt, up to where the assistant begins."""
    completion_ids: Annotated[list[int], Field(min_length=1)] | None = None
    """What the model wrote, with its stop token if there is one."""
    prompt: str | Annotated[list[Message], Field(min_length=1)] | None = None
    """A user message, or messages that end with one; rendered by the model's chat template."""
    system: str | None = None
    """System message before a prompt that is a user message."""
    reasoning: str | None = None
    """The chain of thought, where a server gave it apart from the completion."""
    completion: str | None = None
    """What the model wrote, in text; without `reasoning`, with its chain and the chain's delimiters."""
    id: str | int | None = None
    """Item; transcripts of one item may share it. Missing: the number of the line."""
    sample: Annotated[int, Field(ge=0)] | None = None
    """Number among the transcripts of one item. Missing: the next that is free."""
    group: str | int | None = None
    """Unit of splits and bootstraps. Missing: the item."""
    fields: dict[str, Scalar] = {}
    """Everything else that is known of it: labels, settings, ..."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        in_ids = (self.prompt_ids, self.completion_ids)
        in_text = (self.prompt, self.completion, self.system, self.reasoning)
        whole = None not in in_ids if self.prompt_ids is not None else None not in in_text[:2]
        if not whole or (any(x is not None for x in in_ids) and any(x is not None for x in in_text)):
            raise ValueError("give either prompt_ids and completion_ids, or prompt and completion")
        if not in_ids[0] and not self.completion and not self.reasoning:
            raise ValueError("the completion is empty")
        if isinstance(self.prompt, list) and (self.system is not None or self.prompt[-1].role != "user"):
            raise ValueError("a prompt of messages ends with the user's, and has its system message among them")
        return self


class Source(NamedTuple):
    """What a file of transcripts holds."""

    transcripts: list[tuple[str, Transcript]]
    """Each with where it stands, for complaints."""
    left_out: dict[str, int]
    """Why samples of an Inspect log were left out -> how many."""

    @property
    def retokenised(self) -> int:
        """Transcripts whose token ids have to be made from text."""
        return sum(transcript.prompt_ids is None for _, transcript in self.transcripts)


def read_transcripts(path: Path, limit: int | None = None) -> Source:
    """Every transcript of a JSONL file or an Inspect log.

    Raises:
        SpecError: the file or a line of it is none. Names the line.
    """
    if not path.is_file():
        raise SpecError(f"no transcripts at {path}: give a JSONL file of transcripts, or an Inspect log (.eval, .json)")
    if path.suffix in SUFFIXES:
        samples, left_out = read_inspect_log(path, limit)
        found = [(where, _parse(where, sample)) for where, sample in samples]
    else:
        left_out, found = {}, []
        for number, line in _lines(path):
            if limit is not None and len(found) == limit:
                break
            found.append((f"{path}:{number}", _parse(f"{path}:{number}", line)))
    if not found:
        why = "".join(f"; {many} samples {reason} left out" for reason, many in left_out.items())
        raise SpecError(f"{path} holds no transcripts{why}; give a file with at least one")
    return Source(found, left_out)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise SpecError(f"cannot read {path} ({error.strerror}); give a JSONL file of transcripts") from None
    with file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise SpecError(f"{path}:{number}: more than {MAX_LINE_BYTES:,} bytes; give one transcript a line")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise SpecError(f"{path}:{number}: not text in UTF-8; save the file as UTF-8") from None
            if text.strip():
                yield number, text


def _tells(problem: ErrorDetails) -> tuple[bool, bool, int]:
    """How much a problem says. A value that is none of several types has one for each of them."""
    return problem["type"] == "extra_forbidden", not problem["type"].endswith("_type"), len(problem["loc"])


def _parse(where: str, given: str | dict[str, Any]) -> Transcript:
    try:
        return Transcript.model_validate_json(given) if isinstance(given, str) else Transcript.model_validate(given)
    except ValidationError as error:
        problem = max(error.errors(), key=_tells)
        steps = [str(step) for step in problem["loc"] if step not in UNION and "[" not in str(step)]
        if problem["type"] == "extra_forbidden":
            names = list(Message.model_fields if len(steps) > 1 else Transcript.model_fields)
            near = get_close_matches(steps[-1], names, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(names)}"
            raise SpecError(f"{where}: unknown key {'.'.join(steps)!r}; {remedy}") from None
        key = f"{'.'.join(steps)}: " if steps else ""
        what = problem["msg"].removeprefix("Value error, ")
        raise SpecError(f"{where}: {key}{what[:1].lower()}{what[1:]}; correct or remove it") from None
