"""Published multiple-choice questions from the Hugging Face hub, read into items. None of them ship here.

A revision is first made a commit, and what is loaded is checked to be that commit: left to itself, the client takes
whatever copy it has when the hub does not answer. Data files only: datasets that come with code are not run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SpecError
from .choice import LETTERS, make_question, merge_duplicates, one_line
from .item import Item, Scalar

HUB_TIMEOUT = 15.0
"""Seconds to wait for the hub's answer about a revision."""

_OFFLINE_REMEDY = "try again, use a copy on this machine with --offline, or give a folder as --source"
_FIRST_ONLINE = "load it once with a network, or give a folder as --source"
_FOLDER_REMEDY = "give a whole copy of the dataset's repository"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A row, in our terms."""

    stem: str
    right: str
    wrong: list[str]
    letter: str | None
    """Of the right option, where the dataset orders its options; None: drawn, the same for the same row every time."""
    subject: str
    source_id: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Where a dataset is, and how its rows are read."""

    repo: str
    config: str | None
    split: str
    """With answers, and meant for evaluation."""
    columns: tuple[str, ...]
    read: Callable[[Row], Published]
    level: int | None = None
    """Where the dataset itself says how hard it is."""


def _ordered(stem: Any, texts: list[Any], right: int, subject: Any, source_id: Any = None) -> Published:
    if not 0 <= right < len(texts):
        raise SpecError("its answer is none of its options")
    wrong = [str(text) for index, text in enumerate(texts) if index != right]
    found = None if source_id is None else str(source_id)
    return Published(str(stem), str(texts[right]), wrong, LETTERS[right], str(subject), found)


def _mmlu(row: Row) -> Published:
    return _ordered(row["question"], list(row["choices"]), int(row["answer"]), row["subject"])


def _gpqa(row: Row) -> Published:
    wrong = [str(row[f"Incorrect Answer {number}"]) for number in (1, 2, 3)]
    right, subject = str(row["Correct Answer"]), str(row["High-level domain"])
    return Published(str(row["Question"]), right, wrong, None, subject, str(row["Record ID"]))


def _labelled(row: Row, subject: str) -> Published:
    labels, texts = list(row["choices"]["label"]), list(row["choices"]["text"])
    if len(labels) != len(texts) or row["answerKey"] not in labels:
        raise SpecError("it has no answer among its options")
    return _ordered(row["question"], texts, labels.index(row["answerKey"]), subject, row["id"])


def _arc(row: Row) -> Published:
    return _labelled(row, "science")


def _commonsense(row: Row) -> Published:
    return _labelled(row, "commonsense")


_GPQA = ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_GPQA_ALL = (*_GPQA, "High-level domain", "Record ID")
_KEYED = ("id", "question", "choices", "answerKey")

DATASETS: dict[str, Dataset] = {
    "mmlu": Dataset("cais/mmlu", "all", "test", ("question", "subject", "choices", "answer"), _mmlu),
    "gpqa": Dataset("Idavidrein/gpqa", "gpqa_main", "train", _GPQA_ALL, _gpqa, level=3),
    "gpqa-diamond": Dataset("Idavidrein/gpqa", "gpqa_diamond", "train", _GPQA_ALL, _gpqa, level=3),
    "arc-easy": Dataset("allenai/ai2_arc", "ARC-Easy", "test", _KEYED, _arc, level=1),
    "arc-challenge": Dataset("allenai/ai2_arc", "ARC-Challenge", "test", _KEYED, _arc, level=2),
    "commonsense-qa": Dataset("tau/commonsense_qa", None, "validation", _KEYED, _commonsense),
}
"""Name -> dataset. Levels are a dataset's own ("easy", "challenge", written to be hard for experts), not measured."""


def load_hub(
    name: str,
    *,
    revision: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    offline: bool = False,
    source: Path | None = None,
) -> tuple[list[Item], list[str]]:
    """The questions of a published dataset, and notes: which commit, what was merged or left out.

    All are in distribution (`split: id`). Rows that make no question (two equal options, say) are left out and counted.

    Args:
        name: a key of `DATASETS`.
        revision: branch, tag or commit; None: the newest. Offline, only the full hash of a commit can be checked.
        split: of the dataset; None: the one meant for evaluation that has answers.
        limit: at most so many, spread evenly over the dataset's order (and so over its subjects).
        offline: ask no hub; use what an earlier call has left on this machine.
        source: a local copy of the dataset's repository, used in place of the hub.

    Raises:
        SpecError: no such dataset, revision or split; gated or out of reach; another layout than expected.
    """
    if name not in DATASETS:
        raise SpecError(f"no dataset called {name!r}: choose one of {', '.join(DATASETS)}")
    wanted = DATASETS[name]
    split = split or wanted.split
    if source is not None:
        if not source.is_dir():
            raise SpecError(f"no dataset at {source}: give the folder of a copy of {wanted.repo}")
        rows, notes = (
            _load(wanted, str(source.resolve()), None, split, _FOLDER_REMEDY, offline=True),
            [f"{name} from {source}"],
        )
    else:
        commit = revision if offline else _commit_of(wanted.repo, revision)
        rows = _load(wanted, wanted.repo, commit, split, _FIRST_ONLINE if offline else _OFFLINE_REMEDY, offline=offline)
        loaded = _loaded_commit(rows)
        if commit is not None and loaded != commit:
            raise SpecError(
                f"what is on this machine of {wanted.repo} is commit {loaded or 'unknown'}, not {commit}: give that "
                "one as --revision, or load once with a network"
            )
        notes = [f"{name} from {wanted.repo} at commit {loaded or 'unknown'}"]
    missing = [column for column in wanted.columns if column not in rows.column_names]
    if missing:
        has = ", ".join(rows.column_names)
        raise SpecError(f"{notes[0]} has no column {missing[0]!r} (it has {has}); give a revision with that layout")
    found, refused = _questions(name, wanted, rows, split)
    items, n_merged = merge_duplicates(found)
    if refused:
        notes.append(f"{len(refused)} of {len(rows)} rows were left out; the first: {refused[0]}")
    if n_merged:
        notes.append(f"{n_merged} of {len(found)} questions repeat an earlier one and were merged with it")
    if not items:
        raise SpecError(
            f"split {split!r} of {name} holds no question that can be used ({'; '.join(notes)}); try another"
        )
    n = len(items) if limit is None else min(limit, len(items))
    return [items[place * len(items) // n] for place in range(n)], notes


def _questions(name: str, wanted: Dataset, rows: Any, split: str) -> tuple[list[Item], list[str]]:
    """Items of the rows, and why others make none."""
    items, refused = list[Item](), list[str]()
    for index, row in enumerate(rows):
        item_id = f"{name}-{split}-{index:05d}"
        try:
            read = wanted.read(row)
            fields: dict[str, Scalar] = {} if read.source_id is None else {"source_id": read.source_id}
            items.append(
                make_question(
                    item_id,
                    read.stem,
                    read.right,
                    read.wrong,
                    letter=read.letter,
                    subject=one_line(read.subject) or name,
                    level=wanted.level,
                    fields=fields,
                )
            )
        except (SpecError, ValueError, TypeError, LookupError) as error:
            refused.append(f"row {index}: {error}")
    return items, refused


def _commit_of(repo: str, revision: str | None) -> str:
    """The commit that a revision of a dataset is now."""
    from huggingface_hub import HfApi, errors

    try:
        commit = HfApi().dataset_info(repo, revision=revision, timeout=HUB_TIMEOUT).sha
    except errors.GatedRepoError:
        raise SpecError(_gated(repo)) from None
    except errors.RepositoryNotFoundError:
        raise SpecError(
            f"there is no dataset {repo} on the hub, or it is private: check the name and your login"
        ) from None
    except errors.RevisionNotFoundError:
        raise SpecError(f"{repo} has no revision {revision!r}: give a branch, tag or commit of it") from None
    except (errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]  # of any HTTP library
        why = one_line(str(error))[:200] or type(error).__name__
        raise SpecError(f"{repo}: the hub cannot be reached ({why}); {_OFFLINE_REMEDY}") from None
    if commit is None:
        raise SpecError(f"the hub names no commit of {repo}: give one as --revision")
    return commit


def _gated(repo: str) -> str:
    return f"{repo} is gated: accept its terms at huggingface.co/datasets/{repo}, then `hf auth login`"


def _load(wanted: Dataset, path: str, commit: str | None, split: str, remedy: str, *, offline: bool) -> Any:
    """The rows, through `datasets`, whose errors become one line with the remedy."""
    import datasets
    from huggingface_hub import errors

    known = (datasets.exceptions.DatasetsError, errors.HTTPError)  # type: ignore[attr-defined]
    try:
        with _asking_no_hub() if offline else contextlib.nullcontext():
            return datasets.load_dataset(path, wanted.config, split=split, revision=commit)
    except (*known, OSError, ValueError, RuntimeError, LookupError, TypeError) as error:
        if isinstance(error, datasets.exceptions.DatasetNotFoundError) and "gated" in str(error):
            raise SpecError(_gated(wanted.repo)) from None
        why = one_line(str(error))[:300].rstrip(".") or type(error).__name__
        config = f" ({wanted.config})" if wanted.config else ""
        raise SpecError(f"cannot load split {split!r} of {wanted.repo}{config} from {path}: {why}; {remedy}") from None


@contextlib.contextmanager
def _asking_no_hub() -> Iterator[None]:
    """The libraries read HF_HUB_OFFLINE once, when they are imported; here it holds for a while."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _loaded_commit(rows: Any) -> str | None:
    """The commit that the rows' files were downloaded from."""
    urls = " ".join(rows.info.download_checksums or {})
    found = re.search(r"@([0-9a-f]{40})/", urls)
    return found[1] if found else None
