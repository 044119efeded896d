"""A rollout's text, each token coloured by what a probe reads there: one self-contained page without a script.

Layers and spans are chosen by radio buttons and style rules, so nothing has to run; in a notebook the page stands in a
frame that may run nothing either. What models wrote is escaped, with control characters made visible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np

from ..atomic import write_atomic
from ..report.page import plain, templates, tint
from ..rollout import Rollout
from ..spans import span_code

FULL = 6.0
"""What `tint` gives its full colour to."""
SPANS = ("prompt", "think", "answer", "other")
LINE_CHARACTERS, LINE_PIXELS, HEAD_PIXELS, MOST_PIXELS = 95, 29, 440, 680
"""For the height of the frame in a notebook; a longer text scrolls."""


@dataclass(frozen=True, eq=False)
class TokenView:
    """Tokens of a rollout and their readouts; shows itself in a notebook."""

    rollout: Rollout
    title: str
    what: str
    """What the colours say, in a sentence or two."""
    facts: Mapping[str, str]
    """What is known of the rollout, in words."""
    texts: Sequence[str]
    """What each token spells, [token]."""
    scores: Mapping[int, np.ndarray]
    """Layer -> log-odds of every token, [token]; NaN where none was recorded."""
    scale: Mapping[int, float]
    """Layer -> log-odds that have the full colour."""
    layer: int
    """The one shown first."""

    @cached_property
    def html(self) -> str:
        """The whole page. Equal views give equal bytes."""
        recorded = np.isfinite(next(iter(self.scores.values())))
        return (
            templates()
            .get_template("tokens.html.j2")
            .render(
                view=self,
                runs=self._runs(),
                layers=list(self.scores),
                spans=self._spans(),
                recorded=int(recorded.sum()),
            )
        )

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, and give its path."""
        write_atomic(Path(path), self.html)
        return Path(path)

    def _repr_html_(self) -> str:
        lines = sum(1 + len(line) // LINE_CHARACTERS for line in "".join(self.texts).split("\n"))
        height = min(HEAD_PIXELS + LINE_PIXELS * lines, MOST_PIXELS)
        return (
            f'<iframe sandbox="" srcdoc="{escape(self.html)}" title="{escape(plain(self.title))}" '
            f'style="width: 100%; height: {height}px; border: 0; border-radius: 8px"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<{self.title}: {len(self.texts)} tokens, layers {', '.join(map(str, self.scores))}>"

    @cached_property
    def _codes(self) -> list[str]:
        """The span of each token."""
        return [SPANS[code] for code in span_code(self.rollout.spans, np.arange(len(self.texts)))]

    def _spans(self) -> list[str]:
        return [span for span in SPANS[:3] if span in self._codes]

    def _runs(self) -> list[dict]:
        """Tokens that stand together in one span, in order."""
        runs: list[dict] = []
        for position, (text, span) in enumerate(zip(self.texts, self._codes, strict=True)):
            if not runs or runs[-1]["span"] != span:
                runs.append({"span": span, "tokens": []})
            runs[-1]["tokens"].append(self._token(position, text, span))
        return runs

    def _token(self, position: int, text: str, span: str) -> dict:
        read = {layer: float(column[position]) for layer, column in self.scores.items()}
        found = {layer: score for layer, score in read.items() if not math.isnan(score)}
        said = " · ".join(f"layer {layer}: {score:+.2f}" for layer, score in found.items())
        named = "" if span == "other" else f" · {span}"
        return {
            "text": text.replace("\n", "⏎\n") or "·",
            "about": f"token {self.rollout.token_ids[position]} · position {position}{named} · "
            f"{said or 'no activation recorded'}",
            "colours": "; ".join(
                f"--l{layer}: {tint(FULL * score / self.scale[layer])}" for layer, score in found.items()
            ),
            "answer": position == self.rollout.answer_position,
        }
