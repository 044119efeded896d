"""An Inspect log as transcripts: what each sample's model was asked, and the last thing it said.

Most logs hold text, not token ids, so their transcripts are tokenised again: an approximation, since a model may have
drawn other tokens for the same text. A sample whose metadata has `introspect` with `prompt_ids` and `completion_ids`,
as `introspect export` writes them (`to_inspect`) and any program can, is replayed as it is. Inspect keeps the reasoning
apart from the message; it is handed on apart too, and `introspect.transcripts` puts it back between the model's own
delimiters. Of earlier assistant turns only the text is kept, as most chat templates do. Samples that are no transcript
of one answer are left out and counted by reason.

A log may be a stranger's, and is read whole, by inspect-ai. Bounded before that are the file, what each member and all
of them unpack to (measured, since what an archive says of itself may be untrue) and their proportion to the file; and
after it, where attachments stand in for texts as often as a sample likes, the text of a message and of all transcripts.
Known trade-off: objects in memory are several times the JSON that they are read from.
"""

from __future__ import annotations

import importlib
import math
import zipfile
import zlib
from collections import Counter
from copy import copy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..errors import SpecError
from ..models.boundary import first_line
from ..rollout import Rollout

SUFFIXES = (".eval", ".json")
MAX_LOG_BYTES, MAX_UNPACKED_BYTES, MAX_MEMBER_BYTES = 1 << 30, 1 << 30, 1 << 28
"""Of the file, of all that it unpacks to, and of one sample of it."""
UNSUSPECTED_BYTES, MAX_RATIO = 64 << 20, 200
"""What may be unpacked of any file, however small, and so many times the file's size beyond it."""
MAX_MESSAGE, MAX_TEXTS = 1 << 26, 1 << 30
"""Characters of one message, and of all transcripts of a log."""
BLOCK = 4096
"""Bytes that are unpacked at once where a size is measured; packed ones, where a method knows no other bound."""
UNUSED = {"events", "store"}
"""Of a sample; often most of it."""
OWN, IDS = "introspect", {"prompt_ids", "completion_ids"}
"""Key of a sample's metadata under which its token ids stand, and their names there."""


class InspectLog(NamedTuple):
    """Samples, each as where it stands and the object that a line of transcripts.jsonl would be."""

    samples: list[tuple[str, dict[str, Any]]]
    left_out: dict[str, int]
    """Why samples were left out -> how many."""


class _LeftOut(Exception):
    """Why a sample is no transcript."""


def read_inspect_log(path: Path, limit: int | None = None) -> InspectLog:
    """The samples of an Inspect log, `.eval` or `.json`, in the log's order.

    Args:
        limit: at most so many.

    Raises:
        SpecError: inspect-ai is not installed, or the file is not a log, or a larger one than is read.
    """
    log = _log(path)
    samples: list[tuple[str, dict[str, Any]]] = []
    left_out: Counter[str] = Counter()
    n_texts = 0
    for sample in log.samples or []:
        if limit is not None and len(samples) == limit:
            break
        try:
            found = _transcript(sample)
        except _LeftOut as reason:
            left_out[str(reason)] += 1
            continue
        where = f"{path}, sample {sample.id} of epoch {sample.epoch}"
        n_texts += _n_characters(found)
        if n_texts > MAX_TEXTS:
            raise SpecError(f"{where}: the log comes to more than {MAX_TEXTS:,} characters; split the log")
        samples.append((where, found))
    return InspectLog(samples, dict(left_out))


def read_logged_rollouts(path: Path) -> list[Rollout]:
    """The rollouts of a run that was exported to this log, as they were.

    Raises:
        SpecError: as `read_inspect_log`, or a sample does not hold a rollout. Names the sample.
    """
    found = []
    for sample in _log(path).samples or []:
        where = f"{path}, sample {sample.id} of epoch {sample.epoch}"
        own = sample.metadata.get(OWN)
        if not isinstance(own, dict):
            raise SpecError(f"{where}: it holds no token ids; give a log that `introspect export --to inspect` wrote")
        try:
            found.append(Rollout.model_validate(own))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))[:200] or OWN
            raise SpecError(f"{where}: {place}: {first['msg']}; export the run again") from None
    return found


def inspect_api(what: str, module: str = "inspect_ai.log") -> Any:
    """A module of inspect-ai.

    Raises:
        SpecError: it is not installed. Says what needs it, and the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "inspect_ai":
            raise
        raise SpecError(
            f"{what} needs inspect-ai: get it with `pip install '.[inspect]'` in the folder of introspect's source, in "
            "an environment of its own"
        ) from None


def installed_inspect() -> str:
    """Version of inspect-ai on this machine."""
    try:
        return version("inspect-ai")
    except PackageNotFoundError:
        return "not installed"


def _log(path: Path) -> Any:
    reader = inspect_api(f"{path} is an Inspect log, which").read_eval_log
    _check_size(path)
    try:
        return reader(str(path.resolve()), resolve_attachments=True, exclude_fields=UNUSED)
    except Exception as error:  # of whichever library below it: a damaged member of the archive raises ijson's own
        if isinstance(error, MemoryError):
            raise
        raise SpecError(_not_a_log(path, error)) from error


def _check_size(path: Path) -> None:
    """Refuse a file that could fill the memory, before a library opens it."""
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            raise SpecError(f"{path} has more than {MAX_LOG_BYTES:,} bytes; split the log")
        if path.suffix == ".eval":
            with zipfile.ZipFile(path) as archive:
                _check_members(path, archive)
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise SpecError(_not_a_log(path, error)) from None


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    most = min(MAX_UNPACKED_BYTES, UNSUSPECTED_BYTES + MAX_RATIO * path.stat().st_size)
    if sum(member.file_size for member in members) > most:
        raise SpecError(f"{path} unpacks to more than {most:,} bytes; split the log, or write it without its events")
    for member in members:
        if member.file_size > MAX_MEMBER_BYTES:
            raise SpecError(f"{path}: {member.filename[:100]!r} unpacks to more than {MAX_MEMBER_BYTES:,} bytes")
        if _unpacked(archive, member) != member.file_size:
            raise SpecError(f"{path}: {member.filename[:100]!r} is not of the size that it says; do not use it")


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes that a member unpacks to, counted up to one more than it says."""
    further, read = copy(member), 0
    further.file_size += 1
    with archive.open(further) as stream:
        while block := stream.read(BLOCK):
            read += len(block)
    return read


def _not_a_log(path: Path, error: Exception) -> str:
    return f"{path} cannot be read as an Inspect log ({first_line(error)}); give an .eval or .json log"


def _transcript(sample: Any) -> dict[str, Any]:
    """One sample as a transcript: in token ids where it has them, else in text.

    Raises:
        _LeftOut: it is none; says why.
    """
    about = {
        "id": str(sample.id),
        "sample": sample.epoch - 1,
        "fields": {str(key): value for key, value in sample.metadata.items() if _is_scalar(value)},
    }
    own = sample.metadata.get(OWN)
    if isinstance(own, dict) and IDS & own.keys():
        return about | {key: own[key] for key in (*IDS, "group") if key in own}
    asked, said = _turns(sample)
    reasoning, completion = _parts(said)
    found = about | {
        "prompt": [{"role": turn.role, "content": _parts(turn)[1]} for turn in asked] if asked else sample.input,
        "completion": completion,
    }
    return found | ({} if reasoning is None else {"reasoning": reasoning})


def _turns(sample: Any) -> tuple[list[Any], Any]:
    """What was asked, and the last answer. Nothing is asked when the input is plain text and no message holds it."""
    turns = list(sample.messages)
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if last is not None:
        asked, said = turns[:last], turns[last]
    elif sample.output is not None and sample.output.choices:
        asked = turns or ([] if isinstance(sample.input, str) else list(sample.input))
        said = sample.output.choices[0].message
    else:
        raise _LeftOut("without an answer")
    if any(turn.role == "tool" or getattr(turn, "tool_calls", None) for turn in (*asked, said)):
        raise _LeftOut("with tool calls")
    return asked, said


def _parts(turn: Any) -> tuple[str | None, str]:
    """Reasoning (None without any) and text of a message."""
    if isinstance(turn.content, str):
        return None, turn.content
    reasoning: list[str] = []
    text: list[str] = []
    lengths = [len(str(getattr(block, "reasoning", "") or getattr(block, "text", ""))) for block in turn.content]
    if sum(lengths) > MAX_MESSAGE:
        raise _LeftOut(f"with a message of more than {MAX_MESSAGE:,} characters")
    for block in turn.content:
        if block.type == "reasoning":
            if block.redacted:
                raise _LeftOut("with redacted reasoning")
            if any(piece.strip() for piece in text):
                raise _LeftOut("with reasoning after text")
            reasoning.append(block.reasoning)
        elif block.type == "text":
            text.append(block.text)
        else:
            raise _LeftOut(f"with {block.type} content")
    return "\n\n".join(reasoning) if reasoning else None, "".join(text)


def _n_characters(transcript: dict[str, Any]) -> int:
    """Of the texts of a transcript."""
    prompt = transcript.get("prompt", "")
    asked = len(prompt) if isinstance(prompt, str) else sum(len(turn["content"]) for turn in prompt)
    return asked + len(transcript.get("completion", "")) + len(transcript.get("reasoning", ""))


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
