"""Chain tests: what an answer owes to the chain of thought that stands before it.

After Lanham et al. (2023, arXiv 2307.13702): early answering, inserted mistakes, paraphrase and filler; and the
transplant of a silent hinted chain after the unhinted prompt (Bogdan et al. 2025). Every test puts the model's own
tokens, cut or changed, before `Answer:` and reads what it would answer (`introspect.forced`); nothing is sampled.
`metrics.curves` makes curves of the rows.
"""

from __future__ import annotations

from .cases import Case, make_cases, transplant_cases
from .mistakes import Mistake, make_mistake
from .paraphrase import paraphrase
from .rows import CHAIN_FILE, ChainRow, read_chain
from .sentences import Chain, take_chain
from .stage import ChainPlan, chain_stage, plan_chain

__all__ = [
    "CHAIN_FILE",
    "Case",
    "Chain",
    "ChainPlan",
    "ChainRow",
    "Mistake",
    "chain_stage",
    "make_cases",
    "make_mistake",
    "paraphrase",
    "plan_chain",
    "read_chain",
    "take_chain",
    "transplant_cases",
]
