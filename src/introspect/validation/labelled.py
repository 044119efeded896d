"""A sheet of labels for a draw: chains of the sample, labelled without an error, as somebody who reads well would."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from ..scoring import chains
from ..tasks.registry import find_task
from ..verdicts.sheet import write_sheet
from .planted import Planted


def write_labels(path: Path, planted: Planted, share: float, rng: np.random.Generator) -> None:
    """Write a sheet that is filled in, of a share of the sample's chains that is drawn whatever the rollouts did."""
    sample = [rollout for rollout in planted.rollouts if rollout.split == "id" and rng.random() < share]
    write_sheet(path, chains(find_task("risk"), sample))
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    says = planted.spoken | planted.whispered
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            said = "yes" if says[int(row["rollout"])] else "no"
            writer.writerow(row | {"mentions": said, "relies": said, "denies": "no"})
