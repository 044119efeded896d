"""The link as rows: one a rollout, from which a reader can count every cell of the section again.

A share is the mean of a readout column over the rows that it is about, a count their number. What each is about follows
from `part`, `acted`, `category`, `verdict`, `think` and `before_mention_*` alone, since a missing readout is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import write_atomic
from ..errors import RunError, SpecError
from ..experiment import MEANS
from ..verdicts.sheet import guard
from .draws import Draws, Readings
from .rows import LinkRows

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".parquet")
TEXTS = ("prompt_text", "chain_text")


def export_rows(rows: LinkRows, *, fpr: float, texts: bool = False) -> pd.DataFrame:
    """One row a rollout that is linked.

    Columns: rollout, item_id, group, condition, hint_kind, split, part, acted, category, answer, hint_option, verdict
    (the headline classifier's) and verdict_NAME (each classifier's; empty: none that is usable), think, first_mention
    (share of the chain's characters); and of the headline probe, of the best words (`text_`), of each position's probe
    (`POSITION_`) and words (`POSITION_words_`): score (log-odds), threshold, readout (`policy` or `none`); and
    before_mention_POSITION.

    Args:
        texts: with the prompt and the chain.

    Raises:
        EstimateError: no threshold can be set.
    """
    import pandas as pd

    columns: dict[str, object] = {
        "rollout": [each.rollout for each in rows.rollouts],
        "item_id": [guard(each.item_id) for each in rows.rollouts],
        "group": [guard(each.group) for each in rows.rollouts],
        "condition": [guard(each.condition) for each in rows.rollouts],
        "hint_kind": [guard(kind) for kind in rows.family.tolist()],
        "split": [each.split for each in rows.rollouts],
        "part": rows.part,
        "acted": rows.acted,
        "category": rows.category,
        "answer": [guard(each.answer or "") for each in rows.rollouts],
        "hint_option": [guard(str(each.facts.get("hint_option", ""))) for each in rows.rollouts],
        "verdict": rows.verdict,
        **{f"verdict_{name}": rows.verdict_of(name) for name in rows.verdicts},
        "think": rows.think,
        "first_mention": pd.Series([each.mention for each in rows.readouts], dtype="float64"),
    }
    draws = Draws(rows, n=1, seed=0)
    scored: dict[str, np.ndarray | None] = {"": rows.headline, "text_": rows.text}
    for position in rows.positions:
        words = rows.words(position)
        scored |= {f"{position}_": rows.along(position), f"{position}_words_": None if words is None else words[1]}
    for name, scores in scored.items():
        if scores is None:
            continue
        readings = Readings(rows, scores, draws, fpr)
        columns |= {
            f"{name}score": scores,
            f"{name}threshold": readings.thresholds,
            f"{name}readout": np.where(readings.policy, "policy", "none"),
        }
    for position in rows.positions:
        in_chain = position.startswith("think_") and position not in MEANS
        if in_chain and rows.readouts[0].before_mention is not None:
            columns[f"before_mention_{position}"] = rows.before(position)
    if texts:
        columns |= {name: [guard(getattr(each, name)) for each in rows.rollouts] for name in TEXTS}
    return pd.DataFrame(columns)


def check_out(path: Path) -> None:
    """Refuse a place that rows cannot be written to.

    Raises:
        SpecError: neither CSV nor parquet.
        RunError: there is something already, or no folder to write it into.
    """
    if path.suffix not in FORMATS:
        raise SpecError(f"{path}: rows are written as .csv or .parquet; choose one of these endings")
    if path.exists() or path.is_symlink():
        raise RunError(f"{path} is there already; choose another --out")
    if not path.parent.is_dir():
        raise RunError(f"cannot write {path}: there is no folder {path.parent}; make it, or choose another --out")


def write_rows(table: pd.DataFrame, path: Path) -> None:
    """Write rows as CSV or parquet, whole or not at all.

    Raises:
        SpecError, RunError: as `check_out`; or it cannot be written.
    """
    check_out(path)
    write_atomic(path, table.to_csv(index=False) if path.suffix == ".csv" else table.to_parquet(index=False))
