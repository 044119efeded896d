"""A user's own multiple-choice questions: CSV or JSONL files read into items, with errors that name file and line.

CSV (comma, semicolon or tab, whichever the header uses most): a column `question`, a column for each option headed by
its letter, `answer`, and, if wanted, `subject`, `level`, `split` and `id`. Every row fills all of its options.
JSONL, a line either of our items, or of an object with `question`, `options` (or `choices`: a list of texts, or letter
-> text), `answer` and the same extras; lines may differ in how many options they have.
The answer is the letter or the text of the right option.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from ..atomic import read_at_most
from ..errors import SpecError
from .choice import LETTERS, make_question, merge_duplicates, one_line, parts, right_letter
from .item import Item

SUFFIXES = (".csv", ".tsv", ".jsonl")
MOST_BYTES = 512 * 1024 * 1024
EXTRAS = ("subject", "level", "split", "id")
SUBJECT = "questions"
"""Of questions that name none."""


def read_questions(path: Path) -> tuple[list[Item], list[str]]:
    """The questions of a CSV or JSONL file, and notes on what was merged or passed over.

    Options stay in the order of the file. Of questions with the same stem (`choice.normalised`) the first is kept.

    Raises:
        SpecError: the file cannot be read, is not UTF-8, or holds no question; or a question lacks options, has an
            empty one or two that are the same, or its answer is none of them. Names file and line.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SpecError(f"cannot tell what {path} is: give a file of questions that ends in {', '.join(SUFFIXES)}")
    text, notes = _text(path), list[str]()
    read = _from_jsonl(path, text) if path.suffix.lower() == ".jsonl" else _from_csv(path, text, notes)
    found: list[Item] = []
    lines: dict[str, int] = {}
    for line, item in read:
        if item.item_id in lines:
            raise SpecError(
                f"{path}:{line}: id {item.item_id!r} is that of line {lines[item.item_id]} too; give each its own"
            )
        lines[item.item_id] = line
        found.append(item)
    if not found:
        raise SpecError(f"{path} holds no questions: write at least one below the header")
    items, n_merged = merge_duplicates(found)
    if n_merged:
        notes.append(f"{n_merged} of {len(found)} questions repeat an earlier one and were merged with it")
    return items, notes


def _text(path: Path) -> str:
    try:
        content = read_at_most(path.resolve(), MOST_BYTES)
    except OSError as error:
        raise SpecError(f"cannot read questions at {path} ({error.strerror}); give a CSV or JSONL file") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecError(f"{path}:{line}: not UTF-8; save the file in that encoding") from None


def _from_csv(path: Path, text: str, notes: list[str]) -> Iterator[tuple[int, Item]]:
    header, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        letters = _columns(path, names, notes)
        start = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) != len(names):
                    wrong = f"{len(cells)} cells, and the header {len(names)}; quote texts that hold a {delimiter!r}"
                    raise SpecError(f"{path}:{start}: the row has {wrong}")
                row = {name.lower(): cell for name, cell in zip(names, cells, strict=True)}
                yield start, _question(path, start, {**row, "options": {each: row[each.lower()] for each in letters}})
            start = reader.line_num + 1
    except csv.Error as error:
        raise SpecError(f"{path}:{reader.line_num}: not CSV ({error}); save the table as CSV again") from None


def _columns(path: Path, names: Sequence[str], notes: list[str]) -> list[str]:
    """The letters of the option columns, in order."""
    lower = [name.lower() for name in names]
    twice = next((name for i, name in enumerate(lower) if name in lower[:i]), None)
    if twice is not None:
        raise SpecError(f"{path}:1: column {twice!r} is there twice; name each once")
    letters = sorted(name.upper() for name in lower if re.fullmatch("[a-z]", name))
    missing = [name for name in ("question", "answer") if name not in lower]
    if missing or len(letters) < 2 or letters != list(LETTERS[: len(letters)]):
        have = ", ".join(names) or "nothing"
        raise SpecError(
            f"{path}:1: needs the columns question, A, B (C, D and so on, without gaps), answer; has {have}"
        )
    others = [name for name in names if name.lower() not in ("question", "answer", *EXTRAS) and len(name) > 1]
    if others:
        notes.append(f"columns passed over: {', '.join(others)}")
    return letters


def _from_jsonl(path: Path, text: str) -> Iterator[tuple[int, Item]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError):
            raise SpecError(f"{path}:{line}: not JSON; write one object a line") from None
        if not isinstance(row, dict):
            raise SpecError(f"{path}:{line}: not an object; write question, options and answer, or an item")
        yield line, (_item(path, line, row) if "prompt" in row else _question(path, line, row))


def _item(path: Path, line: int, row: Mapping[str, Any]) -> Item:
    try:
        item = Item.model_validate(row)
        parts(item), right_letter(item)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(
            f"{path}:{line}: {'.'.join(map(str, first['loc']))}: {first['msg']}; write an item in full, or question, "
            "options and answer"
        ) from None
    except SpecError as error:
        raise SpecError(f"{path}:{line}: {error}") from None
    return item


def _question(path: Path, line: int, row: Mapping[str, Any]) -> Item:
    """A row with `question`, `options` or `choices`, `answer` and extras as an item."""
    try:
        stem = _words(row.get("question"), "question")
        texts = _options(row.get("options", row.get("choices")))
        right = _right(row.get("answer"), texts)
        split = _words(row.get("split") or "id", "split").strip().lower()
        if split not in ("id", "ood"):
            raise SpecError(f"split {split!r} is neither id nor ood; write one of the two")
        return make_question(
            _words(row.get("id") or f"{path.stem}-{line:04d}", "id").strip(),
            stem,
            texts[right],
            [text for index, text in enumerate(texts) if index != right],
            letter=LETTERS[right],
            subject=_words(row.get("subject") or SUBJECT, "subject").strip(),
            level=_level(row.get("level")),
            split="ood" if split == "ood" else "id",
        )
    except SpecError as error:
        raise SpecError(f"{path}:{line}: {error}") from None


def _words(value: Any, name: str) -> str:
    """A cell as text: texts and plain numbers are."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise SpecError(f"no {name} there, or it is no text; write it")
    return str(value)


def _options(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        letters = sorted(value)
        if letters != list(LETTERS[: len(letters)]):
            raise SpecError(
                f"options are lettered {', '.join(letters) or '(none)'}; use A, B, C and so on without gaps"
            )
        value = [value[letter] for letter in letters]
    if not isinstance(value, list) or not 2 <= len(value) <= len(LETTERS):
        raise SpecError("options are missing; give 2 to 26 of them, as a list or as letter and text")
    for letter, text in zip(LETTERS, value, strict=False):
        if text is None or (isinstance(text, str) and not text.strip()):
            raise SpecError(
                f"option {letter} is empty; write it, or put questions with fewer options into a JSONL file"
            )
    return [one_line(_words(text, "text of an option")) for text in value]


def _right(value: Any, texts: Sequence[str]) -> int:
    """Index of the option that `answer` names by its letter (also `B)`, `(B)` or `B.`) or its text."""
    answer = one_line(_words(value, "answer"))
    marked = re.fullmatch(r"\(?([A-Za-z])[).]?", answer)
    letter = LETTERS.find(marked[1].upper()) if marked else -1
    by_letter = [letter] if 0 <= letter < len(texts) else []
    by_text = [index for index, text in enumerate(texts) if text == answer]
    found = sorted({*by_letter, *by_text})
    if len(found) > 1:
        raise SpecError(f"answer {answer!r} is the letter of one option and the text of another; write '{answer})'")
    if not found:
        raise SpecError(f"answer {answer!r} is none of the options; write the letter or the text of one")
    return found[0]


def _level(value: Any) -> int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if str(value).strip() not in ("1", "2", "3"):
        raise SpecError(f"level {str(value)[:20]!r} is none of 1 (easy), 2 and 3 (hard); write one of them or nothing")
    return int(cast("str | int", value))
