"""Checks of steering: a site moves by exactly what was asked, where it was asked, and by nothing where nothing was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..backends import Capture, Steer
from .check import Check
from .subject import SEED, Subject

STRENGTH = 3.0


def _vector(subject: Subject) -> torch.Tensor:
    """A random direction as long as a typical activation of the layer that is steered, [width]."""
    generator = torch.Generator().manual_seed(SEED)
    vector = torch.randn(subject.loaded.info.width, generator=generator)
    layer = _layer(subject)
    return vector / vector.norm() * subject.alone[0][layer].float().norm(dim=-1).median()


def _layer(subject: Subject) -> int:
    return subject.loaded.info.n_layers // 2


def _sites(subject: Subject) -> list[str]:
    layer = _layer(subject)
    return [site for site, layers in subject.backend.engine.supports().write.items() if layer in layers]


def moves_by(values: torch.Tensor, vector: torch.Tensor, strength: float) -> torch.Tensor:
    """What a site has to be after steering, in its own number format: the definition."""
    return values + (strength * vector.float()).to(values.dtype)


def off_by(before: torch.Tensor, after: torch.Tensor, vector: torch.Tensor, goal: float) -> float:
    """How far tokens [token, width] are from having the component `goal` along the vector and all else as it was, as a
    part of their norm or of the goal, whichever is more. NaN where one is not a number.
    """
    unit = vector.double() / vector.double().norm()
    expected = before.double() + (goal - before.double() @ unit)[:, None] * unit
    size = before.double().norm(dim=-1).clamp(min=max(abs(goal), 1e-12))
    return float(((after.double() - expected).norm(dim=-1) / size).max())


def _setting(subject: Subject) -> float:
    """The worst of projecting out what activations have in common, and of clamping what lies along a vector."""
    layer, vector, sequence = _layer(subject), _vector(subject), subject.sequences[0]
    pair, here = ("resid_post", layer), Capture(("resid_post",), (layer,))

    def at(steer: Sequence[Steer]) -> torch.Tensor:
        return subject.backend.replay([sequence], [range(len(sequence))], capture=here, steer=steer)[0][pair]

    plain, value = at(()), STRENGTH * float(vector.norm())
    common = plain.float().mean(dim=0)
    projected = at([Steer(*pair, common, 1.0, operator="project")])
    clamped = at([Steer(*pair, vector, 1.0, operator="clamp", value=value)])
    return max(off_by(plain, projected, common, 0.0), off_by(plain, clamped, vector, value))


def steering(subject: Subject) -> Check:
    """Some tokens of each sequence are steered at every site that can be: those move by exactly s*v, no others do, and
    the model's later layers follow. What is projected out or clamped is where it should be.
    """
    layer, vector = _layer(subject), _vector(subject)
    sequences = subject.sequences[:3]
    positions = [range(len(sequence)) for sequence in sequences]
    ranges = tuple(range(len(sequence) // 2, len(sequence)) for sequence in sequences)
    wrong, cells, follows = 0, 0, True
    last = subject.loaded.info.n_layers - 1
    for site in _sites(subject):
        here, after = Capture((site,), (layer,)), Capture(("resid_post",), (last,))
        steer = [Steer(site, layer, vector, STRENGTH, ranges)]
        plain, moved = (subject.backend.replay(sequences, positions, capture=here, steer=s) for s in ((), steer))
        then = [subject.backend.replay(sequences, positions, capture=after, steer=s) for s in ((), steer)]
        for row, span in enumerate(ranges):
            expected = plain[row][site, layer].clone()
            expected[span.start :] = moves_by(expected[span.start :], vector, STRENGTH)
            wrong += int((moved[row][site, layer] != expected).sum())
            cells += expected.numel()
            follows &= not torch.equal(then[0][row]["resid_post", last], then[1][row]["resid_post", last])
    found = _setting(subject)
    failed = wrong or not follows or not cells or not found <= subject.tolerance
    said = f"{wrong} of {cells} numbers at {', '.join(_sites(subject))} are not x + s*v"
    said += "" if follows else "; later layers do not follow"
    said += f"; projected and clamped: {found:.2g} off (at most {subject.tolerance:g})"
    return Check("steering", "failed" if failed else "ok", said)


def steering_in_flight(subject: Subject) -> Check:
    """While generating, every token from the last prompt token on is steered once: the first one as a replay is, and
    the text, teacher-forced under the same steering, has the same activations.
    """
    layer, vector = _layer(subject), _vector(subject)
    ranges = tuple(range(len(sequence) - 1, 10**9) for sequence in subject.sequences)
    steer = [Steer("resid_post", layer, vector, STRENGTH, ranges)]
    capture = Capture(("resid_post",), (layer, subject.loaded.info.n_layers - 1))
    made = subject.generate(capture, steer=steer)
    whole = [[*prompt, *each.completion_ids] for prompt, each in zip(subject.sequences, made, strict=True)]
    positions = [range(len(p) - 1, len(w)) for p, w in zip(subject.sequences, whole, strict=True)]
    again = subject.backend.replay(whole, positions, capture=capture, steer=steer)
    unsteered = subject.backend.replay(whole, positions, capture=capture)
    found = _furthest(subject, again, made)
    moved = min(
        float((each["resid_post", layer] - plain["resid_post", layer]).float().norm(dim=-1).min())
        for each, plain in zip(again, unsteered, strict=True)
    )
    asked = STRENGTH * float(vector.norm())
    failed = not (found <= subject.tolerance and 0.5 * asked <= moved <= 1.5 * asked)
    said = f"steered in flight against a steered replay: {found:.2g} (at most {subject.tolerance:g})"
    return Check("steering in flight", "failed" if failed else "ok", said)


def _furthest(subject: Subject, again: Sequence[dict], made: Sequence) -> float:
    return max(
        subject.difference(each.activations[pair], replayed[pair])
        for each, replayed in zip(made, again, strict=True)
        for pair in replayed
    )


def zero_strength(subject: Subject) -> Check:
    """Strength 0 changes no bit of what is captured, and no token of the text; alone, and beside sequences that are
    steered.
    """
    many = len(subject.sequences)
    alone = Steer("resid_post", _layer(subject), _vector(subject), 0.0)
    beside = replace(alone, strength=tuple(STRENGTH * (row % 2) for row in range(many)))
    positions = [range(len(sequence)) for sequence in subject.sequences]
    plain = subject.backend.replay(subject.sequences, positions, capture=subject.capture)
    wrong = cells = texts = written = 0
    for steer, unsteered in ((alone, range(many)), (beside, range(0, many, 2))):
        zero = subject.backend.replay(subject.sequences, positions, capture=subject.capture, steer=[steer])
        for row in unsteered:
            wrong += sum(not torch.equal(_bits(plain[row][pair]), _bits(zero[row][pair])) for pair in plain[row])
            cells += len(plain[row])
        if subject.why_not_in_flight is None:
            steered = subject.generate(subject.capture, steer=[steer], lanes=2)
            texts += sum(steered[row].completion_ids != subject.generated[row].completion_ids for row in unsteered)
            written += len(unsteered)
    said = f"{wrong} of {cells} activations and {texts} of {written} texts differ in a bit"
    return Check("zero strength", "failed" if wrong or texts else "ok", said)


def _bits(values: torch.Tensor) -> torch.Tensor:
    """As integers, so that 0 and -0 differ."""
    return values.contiguous().view(torch.uint8)
