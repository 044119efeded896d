"""A dose-response sweep in one call, against one run at one dose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..backends import Steer
from ..steering.interventions import ENDLESS
from .generation import fixed_length
from .rows import Row

if TYPE_CHECKING:
    from .setting import Setting

STRENGTHS = (-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0)


def measure_sweep(setting: Setting) -> Iterator[Row]:
    """Every prompt at eight strengths / every prompt at one."""
    prompts, info = setting.prompts[: setting.sizes.swept], setting.loaded.info
    vector = torch.randn(info.width, generator=torch.Generator().manual_seed(0))

    def run(strengths: tuple[float, ...]) -> None:
        each = [prompt for prompt in prompts for _ in strengths]
        ranges = tuple(range(len(prompt) - 1, ENDLESS) for prompt in each)
        steer = [Steer("resid_post", info.n_layers // 2, vector, strengths * len(prompts), ranges)]
        setting.backend.generate(
            each, seeds=range(len(each)), sampling=fixed_length(setting), capture=None, steer=steer
        )

    yield setting.compare(
        f"{len(STRENGTHS)} strengths x {len(prompts)} rollouts of {setting.sizes.new_tokens} tokens in one call / "
        "one strength",
        lambda: run(STRENGTHS),
        lambda: run(STRENGTHS[:1]),
        of="ours / peer",
        goal="<= 3",
        note="steered from the last prompt token on: what is before it is prefilled once for all strengths",
    )
