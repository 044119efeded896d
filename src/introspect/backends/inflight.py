"""Sampling with capture: sequences side by side in lanes, each drawn from a generator of its own.

A sequence that has ended leaves its lane. While others wait, free lanes are filled again once they are a quarter of
all; when none waits, the lanes are compacted. Equal prompts are prefilled once, where steering does the same to them;
where it changes nothing of a prompt but its last token, that one is fed by itself, so that prompts which are steered in
different ways from there on share what is before it.
A prompt is prefilled among those of about its length, padded on the right to a width that depends on nothing but its
length, so that who is beside it changes neither what is computed for it nor in which order sums are added (see
`lanes`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache

from ..errors import ModelError
from ..models.placement import input_device
from .lanes import LANE_MULTIPLE, Lanes, round_up, step_mask
from .protocol import Capture, Engine, Generation, Read, Sampling, SiteLayer, Steer
from .recorder import Recorder
from .steering import Steering

PREFILL_MULTIPLE = 32
"""Prompts are padded to a multiple of this."""
PREFILL_TOKENS = 8192
"""Prompt tokens, padding included, in one forward pass."""
REFILL_AT = 0.25
"""Waiting sequences are let in when this share of the lanes is free."""
COMPACT_BELOW = 0.75
"""Lanes are dropped when the live ones are less than this share of them."""


def draw(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float) -> torch.Tensor:
    """Sample a token a row by inverting the cumulative distribution at `uniforms` [row]. Logits [row, vocabulary]."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = torch.softmax(logits / temperature, dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1:]
    targets = uniforms.to(logits.device, logits.dtype)[:, None] * total
    # A uniform next to 1 is rounded to 1, which no token's cumulative probability is above.
    targets = torch.minimum(targets, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


@dataclass
class _Row:
    """A sequence in a lane."""

    job: int
    lane: int
    position: int
    """Of the token that is fed next: the last one drawn, or the prompt's last where that one was not prefilled."""
    begun: int
    prompt: dict[SiteLayer, torch.Tensor]
    completion: list[int] = field(default_factory=list)
    watched: list[torch.Tensor] = field(default_factory=list)
    lanes: list[int] = field(default_factory=list)
    stopped: bool = False
    finite: bool = True


_Prefill = tuple[int, list[int]]
"""How many tokens of a prompt are prefilled, and the jobs that share them."""


class InFlight:
    """One call of `Backend.generate`."""

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[Sequence[int]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        capture: Capture | None,
        watch: Sequence[int],
        steer: Sequence[Steer],
        lanes: int,
    ) -> None:
        self.engine, self.prompts, self.sampling = engine, [tuple(prompt) for prompt in prompts], sampling
        self.capture, self.steering = capture, Steering(steer)
        self.device = input_device(engine.model)
        self.uniforms = [
            torch.rand(
                sampling.max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
            ).tolist()
            for seed in seeds
        ]
        self.watch = torch.tensor(list(watch), dtype=torch.long, device=self.device)
        pairs = [] if capture is None else capture.pairs()
        width = engine.model.config.get_text_config().hidden_size
        self.recorder = Recorder(pairs, width, engine.model.dtype)
        self.cache = Lanes(round_up(lanes, LANE_MULTIPLE))
        self.most = lanes
        self.waiting = deque(range(len(prompts)))
        self.live: list[_Row] = []
        self.steps = 0
        self.done: dict[int, Generation] = {}

    @torch.inference_mode()
    def run(self) -> list[Generation]:
        """Generate until nothing waits and nothing lives."""
        while self.waiting or self.live:
            free = self.most - len(self.live)
            if self.waiting and (not self.live or free >= REFILL_AT * self.most):
                self._admit([self.waiting.popleft() for _ in range(min(free, len(self.waiting)))])
            else:
                if not self.waiting:
                    self._compact()
                self._step()
        return [self.done[job] for job in range(len(self.prompts))]

    def _admit(self, jobs: Sequence[int]) -> None:
        """Prefill the prompts of these jobs, give each a free lane, and draw its first token."""
        taken = {row.lane for row in self.live}
        lanes = (lane for lane in range(self.cache.n_lanes) if lane not in taken)
        for width, group in self._prefills(jobs):
            lengths = [length for length, _ in group]
            ids = torch.zeros(len(group), width, dtype=torch.long)
            for row, (length, users) in enumerate(group):
                ids[row, :length] = torch.tensor(self.prompts[users[0]][:length])
            kept: dict[SiteLayer, list[torch.Tensor]] = {}
            cache = DynamicCache()
            logits = self.engine.forward(
                {"input_ids": ids.to(self.device), "past_key_values": cache},
                reads={pair: self._keep_prompt(pair, group, kept) for pair in self.recorder.pairs},
                writes=self.steering.writes(
                    [users[0] for _, users in group], torch.arange(width, device=self.device)[None]
                ),
                logits_at=torch.tensor(lengths, device=self.device) - 1,
            )
            assert logits is not None  # noqa: S101 - for the type checker: logits were asked for
            rows = [row for row, (_, users) in enumerate(group) for _ in users]
            new = [
                _Row(job, next(lanes), length, self.steps, {pair: kept[pair][row] for pair in kept})
                for row, (length, users) in enumerate(group)
                for job in users
            ]
            self.cache.admit(cache, rows, [row.lane for row in new])
            self.live += new
            whole = [i for i, row in enumerate(new) if row.position == len(self.prompts[row.job])]
            if whole:
                drawn = torch.tensor([rows[i] for i in whole], device=logits.device)
                self._draw([new[i] for i in whole], logits[drawn])

    def _prefills(self, jobs: Sequence[int]) -> Iterator[tuple[int, list[_Prefill]]]:
        """Padded width, and what is prefilled, for every forward pass of a prefill."""
        shared: dict[object, _Prefill] = {}
        for job in jobs:
            prompt = self.prompts[job]
            self.steering.see(job, prompt)
            length = len(prompt)
            if length > 1 and self.steering.steered(job, length) == [length - 1]:
                length -= 1
            key = (prompt[:length], length == len(prompt), self.steering.of_prompt(job, length))
            shared.setdefault(key, (length, []))[1].append(job)
        by_width: dict[int, list[_Prefill]] = {}
        for each in shared.values():
            by_width.setdefault(round_up(each[0], PREFILL_MULTIPLE), []).append(each)
        for width, groups in by_width.items():
            many = max(1, PREFILL_TOKENS // width)
            for start in range(0, len(groups), many):
                yield width, groups[start : start + many]

    def _keep_prompt(
        self, pair: SiteLayer, group: Sequence[_Prefill], kept: dict[SiteLayer, list[torch.Tensor]]
    ) -> Read:
        whole = self.capture is not None and self.capture.prompt
        firsts = [0 if whole else len(self.prompts[users[0]]) - 1 for _, users in group]

        def read(values: torch.Tensor) -> None:
            kept[pair] = [
                row[first:length].to("cpu", copy=True)
                for row, first, (length, _) in zip(values, firsts, group, strict=True)
            ]

        return read

    def _step(self) -> None:
        """Feed every live sequence its next token, and draw the one after it."""
        n_lanes = self.cache.n_lanes
        ids = torch.zeros(n_lanes, dtype=torch.long)
        positions = torch.zeros(n_lanes, dtype=torch.long)
        sequences = [0] * n_lanes
        for row in self.live:
            last = row.completion[-1] if row.completion else self.prompts[row.job][-1]
            ids[row.lane], positions[row.lane] = last, row.position
            sequences[row.lane] = row.job
            self.steering.see(row.job, row.completion[-1:])
            row.lanes.append(row.lane)
        ids, positions = ids.to(self.device), positions.to(self.device)
        self.cache.step(positions)
        model = self.engine.model
        logits = self.engine.forward(
            {
                "input_ids": ids[:, None],
                "position_ids": positions[:, None],
                "attention_mask": step_mask(
                    model.config, self.engine.attention, positions, self.cache.width, model.dtype
                ),
                "past_key_values": self.cache,
            },
            reads=self.recorder.reads(self.steps, n_lanes),
            writes=self.steering.writes(sequences, positions[:, None]),
            logits_at=torch.zeros(n_lanes, dtype=torch.long, device=self.device),
        )
        assert logits is not None  # noqa: S101 - for the type checker: logits were asked for
        self.steps += 1
        for row in self.live:
            row.position += 1
        ended = [row for row in self.live if len(row.completion) == self.sampling.max_new_tokens]
        going = [row for row in self.live if len(row.completion) < self.sampling.max_new_tokens]
        for row in ended:
            self._finish(row)
        if going:
            self._draw(going, logits[torch.tensor([row.lane for row in going], device=logits.device)])
        self.recorder.forget(min((row.begun for row in self.live), default=self.steps))

    def _draw(self, rows: Sequence[_Row], logits: torch.Tensor) -> None:
        """Draw each row's next token, [row, vocabulary], and end the rows that stop."""
        logits = logits.float()
        finite = torch.isfinite(logits.amax(dim=-1))
        if not finite.all():
            self._stop_not_finite([row for row, is_finite in zip(rows, finite.tolist(), strict=True) if not is_finite])
            rows = [row for row in rows if row.finite]
            if not rows:
                return
            logits = logits[finite]
        uniforms = torch.tensor([self.uniforms[row.job][len(row.completion)] for row in rows], dtype=torch.float64)
        tokens = draw(logits, uniforms, self.sampling.temperature).tolist()
        if len(self.watch):
            watched = torch.log_softmax(logits, dim=-1)[:, self.watch.to(logits.device)].cpu()
            for row, values in zip(rows, watched, strict=True):
                row.watched.append(values)
        for row, token in zip(rows, tokens, strict=True):
            row.completion.append(token)
            row.stopped = token in self.sampling.stop_ids
            full = len(row.completion) == self.sampling.max_new_tokens
            if row.stopped or (full and self.capture is None):
                self._finish(row)

    def _stop_not_finite(self, rows: Sequence[_Row]) -> None:
        """End these rows, whose logits steering drove to NaN or infinity.

        Raises:
            ModelError: nothing is steered.
        """
        if not self.steering:
            raise ModelError(
                f"{type(self.engine.model).__name__} gives logits that are not numbers: its activations overflow "
                f"{str(self.engine.model.dtype).removeprefix('torch.')}; try --set dtype=bfloat16 or float32"
            )
        for row in rows:
            row.finite = False
            if len(self.watch):
                row.watched.append(torch.full((len(self.watch),), torch.nan))
            self._finish(row)

    def _finish(self, row: _Row) -> None:
        """Put a row's parts together and free its lane."""
        generated = self.recorder.row(row.begun, row.lanes)
        self.done[row.job] = Generation(
            row.completion,
            "stop" if row.stopped else "length" if row.finite else "not_finite",
            {pair: torch.cat([row.prompt[pair], generated[:, i]]) for i, pair in enumerate(self.recorder.pairs)},
            torch.stack(row.watched) if row.watched else torch.empty(len(row.completion), 0),
        )
        self.live = [other for other in self.live if other is not row]

    def _compact(self) -> None:
        needed = round_up(len(self.live), LANE_MULTIPLE)
        if needed >= COMPACT_BELOW * self.cache.n_lanes:
            return
        kept = [row.lane for row in self.live]
        self.cache.keep(kept + kept[:1] * (needed - len(kept)))
        for lane, row in enumerate(self.live):
            row.lane = lane
