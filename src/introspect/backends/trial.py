"""Whether a model can be generated from in lanes: found out by doing it, on a few tokens.

Architectures keep state and read masks in more ways than a list of names would hold. So two sequences of different
lengths, one longer than a window where there is a small one, are continued in lanes and replayed; what differs by more
than rounding explains, or fails, is refused.
"""

from __future__ import annotations

import torch

from .inflight import InFlight
from .protocol import Capture, Engine, Sampling
from .replay import REPLAY_TOKENS, replay

SHORT, LONG, WINDOW = 5, 70, 512
"""Tokens of the two sequences; windows up to this are stepped over."""
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Relative to the norm of a token's activation; in 16 bits, where experts may be chosen otherwise, and with weights in
few bits, which are multiplied in 16: 0.9."""
FAILURES = (ValueError, RuntimeError, TypeError, LookupError, AttributeError, AssertionError)
REMEDY = "generate elsewhere, and use `introspect record --from`"


def trial(engine: Engine) -> str | None:
    """Why generation in lanes does not work with this model; None when it does.

    Raises:
        OutOfMemoryError: there is no room for one short forward pass.
    """
    config = engine.model.config.get_text_config()
    known = engine.model.get_input_embeddings().num_embeddings
    window = getattr(config, "sliding_window", None) or 0
    room = (getattr(config, "max_position_embeddings", None) or LONG) - 2
    longest = max(1, min(room, max(LONG, window + 8 if window <= WINDOW else 0)))
    prompts = [[(7 * i * i + i) % known for i in range(length)] for length in (longest, min(SHORT, longest))]
    last = config.num_hidden_layers - 1
    if last not in engine.supports().read["resid_post"]:
        return None
    capture = Capture(("resid_post",), (last,))
    try:
        made = InFlight(
            engine,
            prompts,
            seeds=[0, 1],
            sampling=Sampling(2, 0.0, frozenset()),
            capture=capture,
            watch=(),
            steer=(),
            lanes=2,
        ).run()
        whole = [prompt + each.completion_ids for prompt, each in zip(prompts, made, strict=True)]
        positions = [range(len(each) - 3, len(each)) for each in whole]
        again = replay(engine, whole, positions, capture=capture, steer=(), tokens=REPLAY_TOKENS)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"its cache cannot be kept in lanes ({type(error).__name__}: {first[:120]}); {REMEDY}"
    pair = ("resid_post", last)
    worst = max(
        float(((mine.activations[pair] - own[pair]).double().norm(dim=-1) / own[pair].double().norm(dim=-1)).max())
        for mine, own in zip(made, again, strict=True)
    )
    quantised = getattr(engine.model, "hf_quantizer", None) is not None
    if worst <= (0.9 if quantised else ROUNDING.get(engine.model.dtype, 0.9)):
        return None
    return f"activations of a cached step differ from those of a plain forward pass by {worst:.0%}; {REMEDY}"
