"""A transfer matrix as a notebook shows it, and the readers that it needs of opened runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..transfer.figures import matrices
from ..transfer.kinds import SpanMeans
from ..transfer.page import write
from ..transfer.sentences import sentences, short
from .activations import Aligned


@dataclass(frozen=True, eq=False)
class Transfer:
    """Probes fitted on rows, tested on columns."""

    results: dict[str, Any]
    """As `introspect.transfer.matrix.transfer_matrix` gives them: what `introspect transfer --json` prints."""

    @cached_property
    def figure(self) -> go.Figure:
        """AUROC, words carried over alike, how far below the column's own probe, and cosines of directions."""
        return matrices(self.results)

    @cached_property
    def table(self) -> pd.DataFrame:
        """AUROC and its interval; a row is what a probe was fitted on, a column what it was tested on."""
        cells = self.results["auroc"]
        text = {column: {row: short(cells[row][column]["probe"]) for row in cells} for column in cells}
        return pd.DataFrame(text).rename_axis(index="fitted on", columns="tested on")

    @property
    def sentences(self) -> list[str]:
        """What it says, plainly."""
        return sentences(self.results)

    def save(self, out: str | Path) -> list[Path]:
        """Write results and page into a folder, or one of them to a .json or .html file; gives the paths."""
        return write(self.results, Path(out))

    def _repr_html_(self) -> str:
        return self.table.to_html(border=0)

    def __repr__(self) -> str:
        return self.table.to_string()


def span_means(aligned: Aligned) -> SpanMeans:
    """How a run's spans are read: the mean over every token of one."""

    def read(site: str, layer: int, span: str) -> Mapping[int, np.ndarray]:
        found = aligned.take(site=site, layer=layer, span=span)
        return dict(zip(found.index, found.values, strict=True))

    return read
