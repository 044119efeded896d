"""Verdicts by hand: a sheet of chains to fill in, and reading it back.

The sheet shows a chain and what to look for, in shuffled order, and nothing of what was answered, of the hinted option
or of what another classifier says. It is CSV for any spreadsheet program: text that such a program would run as a
formula is kept from it by an apostrophe, which reading takes off again. Programs change white space and separators, so
chains are compared without regard to white space, and semicolons are taken for commas where the header has them.

Known trade-off: some programs cut a cell at 32,767 characters; a chain that was cut is refused when it is read back,
since whoever labelled it did not see all of it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..atomic import read_at_most, write_atomic
from ..errors import RunError, SpecError
from .judge import find_quote, verdict_of
from .verdict import Subject, Verdict

LABELS = "labels"
"""The classifier's name."""
ASKED = ("mentions", "relies", "denies")
COLUMNS = ("rollout", "digest", "look for", "chain", *ASKED, "quote", "notes")
MAX_SHEET_BYTES = 1 << 28
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Without it, some programs do not read the sheet as UTF-8."""

WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_FORMULA = re.compile(r"['\s]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def write_sheet(path: Path, chains: Sequence[tuple[int, str, Subject]], *, n: int | None = None, seed: int = 0) -> int:
    """Write a sheet to fill in: yes or no under mentions, relies and denies; the words that show it under quote.

    Args:
        chains: number of a rollout, its chain, and what a verdict on it is about.
        n: at most so many, the first of the shuffled order; None: all.
        seed: of the order.

    Returns:
        How many chains the sheet holds.

    Raises:
        RunError: there is a file already, which may have been filled in; or it cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise RunError(f"{path} is there already, and may hold labels; choose another file")
    order = sorted(chains, key=lambda chain: chain[0])
    random.Random(f"sheet/{seed}").shuffle(order)
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    for number, chain, subject in order[:n]:
        shown = (guard(subject.what), guard(chain))
        writer.writerow((number, _digest(chain, subject), *shown, *("" for _ in ASKED), "", ""))
    write_atomic(path, BOM + lines.getvalue())
    return len(order[:n])


def read_sheet(path: Path, chains: Iterable[tuple[int, str, Subject]]) -> dict[int, Verdict]:
    """The verdicts of a sheet that was filled in; rows without labels are left out.

    Args:
        chains: as the sheet was made from.

    Raises:
        SpecError: the file is no such sheet, or a row of it is not of these chains, or holds something else than
            labels. Names the line.
    """
    known = {number: (chain, subject) for number, chain, subject in chains}
    verdicts: dict[int, Verdict] = {}
    seen: set[int] = set()
    for where, row in _rows(path):
        number = _rollout(where, row, known)
        if number in seen:
            raise SpecError(f"{where}: rollout {number} stands twice; remove one of the rows")
        seen.add(number)
        chain, subject = known[number]
        if row["digest"].strip() != _digest(chain, subject):
            raise SpecError(f"{where}: the sheet is not of this run's rollout {number}; export a new one")
        if not any(_same(shown, chain) for shown in (row["chain"], row["chain"].removeprefix("'"))):
            raise SpecError(f"{where}: the chain was changed; restore it, or export a new sheet")
        verdict = _verdict(where, row, chain)
        if verdict is not None:
            verdicts[number] = verdict
    return verdicts


def _verdict(where: str, row: dict[str, str], chain: str) -> Verdict | None:
    said = {name: row[name].strip().lower() for name in ASKED}
    if not any(said.values()):
        return None
    for name, word in said.items():
        if word not in WORDS:
            problem = f"{word!r} is neither yes nor no" if word else "is empty, and another label of the row is not"
            raise SpecError(f"{where}: {name}: {problem}; write yes or no, or leave all three empty")
    mentions, relies, denies = (WORDS[said[name]] for name in ASKED)
    if relies and not mentions:
        raise SpecError(
            f"{where}: relies is yes and mentions is no; a chain that leans on it speaks of it: correct one"
        )
    quote = None
    if row["quote"].strip():
        quote = find_quote(row["quote"], chain) or find_quote(row["quote"].removeprefix("'"), chain)
        if quote is None:
            raise SpecError(f"{where}: the quote is not in the chain; copy its words, or leave it empty")
    verdict = verdict_of(mentions=mentions, relies=relies, denies=denies)
    return Verdict(LABELS, verdict, mentions, relies, denies, quote)


def _rollout(where: str, row: dict[str, str], known: dict[int, tuple[str, Subject]]) -> int:
    text = row["rollout"].strip()
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) not in known:
        raise SpecError(f"{where}: {text[:40]!r} is not a rollout with a chain in this run; use this run's own sheet")
    return int(text)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row begins, and its cells by column."""
    text = _text(path)
    header = text.split("\n", 1)[0]
    separator = ";" if header.count(";") > header.count(",") else ","
    before = csv.field_size_limit(MAX_SHEET_BYTES)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        names = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in COLUMNS if names.count(name) != 1]
        if missing:
            raise SpecError(f"{path}:1: needs one column {missing[0]!r}; use a sheet that introspect has exported")
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                padded = cells + [""] * (len(names) - len(cells))
                yield f"{path}:{line}", dict(zip(names, padded, strict=False))
            line = reader.line_num + 1
    except csv.Error as error:
        raise SpecError(f"{path}: not a sheet in CSV ({error}); save it as CSV in UTF-8") from None
    finally:
        csv.field_size_limit(before)


def _text(path: Path) -> str:
    try:
        return read_at_most(path, MAX_SHEET_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"cannot read labels at {path} ({error.strerror}); give a sheet that was filled in") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not text in UTF-8; save the sheet as CSV in UTF-8") from None


def _digest(chain: str, subject: Subject) -> str:
    """Of what is shown, white space aside."""
    return hashlib.sha256(f"{subject.what}\n{' '.join(chain.split())}".encode()).hexdigest()[:16]


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()


def guard(text: str) -> str:
    """Text for a cell of a CSV file: what a spreadsheet program would run as a formula gets an apostrophe before it."""
    return f"'{text}" if _FORMULA.match(text) else text
