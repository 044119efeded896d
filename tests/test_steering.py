"""Steering on every engine: what a site becomes, where, while it is sampled and when it is replayed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from introspect.backends import BACKENDS, Capture, Sampling, Steer, Steering, inflight, make_backend
from introspect.errors import ModelError, SpecError
from introspect.models import ReasoningFormat
from introspect.models.formats import FORMATS
from introspect.spans import locate_spans
from introspect.steering import SpanScope, TextScope
from test_engines import left_padded, make_engine, right_padded, run
from tiny_folders import tiny_tokenizer
from tiny_models import tiny_model

TOKENIZER = tiny_tokenizer()
THINK = FORMATS["think"]
TOLERANCE = 2e-5
"""Of values of order 1 to 10: other shapes add float32 products in another order."""
PAIRS = Capture(("resid_post", "mlp_out"), (0, 1, 2))
TEXTS = (
    "<think>one, two</think>\n\nAnswer: A",
    "<think>three</think>B",
    "no chain at all",
    "<think>cut off here",
    "<think></think>C.",
)
VECTOR = torch.linspace(-2, 3, 32)


def ids_of(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


PROMPTS = [ids_of(text) for text in ("ask one", "and then two?", "q", "why, why not", "five")]


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    return make_backend(request.param, tiny_model("llama"))


@pytest.fixture(scope="module")
def native():
    return make_backend("native", tiny_model("llama"))


@pytest.fixture
def script(monkeypatch):
    """Has the sampler draw these texts, one a prompt, whatever the model's logits are."""

    def write(texts):
        wanted, now = [[*ids_of(text), TOKENIZER.eos_token_id] for text in texts], []
        original = inflight.InFlight._draw

        def draw_rows(self, rows, logits):
            now[:] = rows
            original(self, rows, logits)

        def draw(*_):
            return torch.tensor([wanted[row.job][len(row.completion)] for row in now if row.finite])

        monkeypatch.setattr(inflight.InFlight, "_draw", draw_rows)
        monkeypatch.setattr(inflight, "draw", draw)
        return wanted

    return write


def generate(backend, prompts, steer, *, lanes=None, tokens=60, **options):
    sampling = Sampling(tokens, 1.0, frozenset({TOKENIZER.eos_token_id}))
    seeds = options.pop("seeds", range(len(prompts)))
    return backend.generate(prompts, seeds=seeds, sampling=sampling, capture=PAIRS, steer=steer, lanes=lanes, **options)


def fed(prompt, made):
    """Prompt and completion without the stop token, which is never read."""
    return [*prompt, *(made.completion_ids[:-1] if made.finish == "stop" else made.completion_ids)]


def assert_as_replayed(backend, prompts, made, steer, tolerance=TOLERANCE):
    whole = [fed(prompt, each) for prompt, each in zip(prompts, made, strict=True)]
    positions = [range(len(prompt) - 1, len(ids)) for prompt, ids in zip(prompts, whole, strict=True)]
    again = backend.replay(whole, positions, capture=PAIRS, steer=steer)
    for each, replayed in zip(made, again, strict=True):
        for pair in PAIRS.pairs():
            torch.testing.assert_close(each.activations[pair], replayed[pair], rtol=0, atol=tolerance)
    return again


def scopes(span, prompts, form=THINK):
    return tuple(SpanScope(span, prompt, TOKENIZER, form) for prompt in prompts)


def spans_of(span, prompts, made, form=THINK):
    found = [locate_spans(p, each.completion_ids, TOKENIZER, form) for p, each in zip(prompts, made, strict=True)]
    return tuple(range(*getattr(each, span)) for each in found)


# What a site becomes


@pytest.mark.parametrize("site", ["resid_post", "attn_out", "mlp_out"])
def test_operators_do_to_a_site_what_they_are_defined_to_do(backend, site):
    here = Capture((site,), (1,))
    sequences = [[5, 17, 80, 3, 9], [60, 2, 33]]
    positions = [range(len(each)) for each in sequences]
    ranges = (range(1, 5, 2), range(3))
    unit = VECTOR / VECTOR.norm()

    def at(*steer):
        return [each[site, 1] for each in backend.replay(sequences, positions, capture=here, steer=steer)]

    plain = at()
    done = {
        "add": at(Steer(site, 1, VECTOR, 0.5, ranges)),
        "project": at(Steer(site, 1, VECTOR, 1.0, ranges, "project")),
        "half": at(Steer(site, 1, VECTOR, 0.5, ranges, "project")),
        "clamp": at(Steer(site, 1, VECTOR, 1.0, ranges, "clamp", 7.0)),
    }
    goal = {"add": None, "project": lambda c: 0 * c, "half": lambda c: c / 2, "clamp": lambda c: 0 * c + 7}
    for name, moved in done.items():
        for before, after, span in zip(plain, moved, ranges, strict=True):
            still = [i for i in range(len(before)) if i not in span]
            assert torch.equal(after[still], before[still])
            x, y = before[list(span)].double(), after[list(span)].double()
            if name == "add":
                assert torch.equal(after[list(span)], before[list(span)] + 0.5 * VECTOR)
                continue
            component = x @ unit.double()
            torch.testing.assert_close(y @ unit.double(), goal[name](component), rtol=0, atol=TOLERANCE)
            rest = x - component[:, None] * unit.double()
            torch.testing.assert_close(y - (y @ unit.double())[:, None] * unit.double(), rest, rtol=0, atol=TOLERANCE)


def test_several_act_in_their_order(native):
    ids, here = [[5, 17, 80]], Capture(("resid_post",), (1,))
    add = Steer("resid_post", 1, VECTOR, 1.0)
    project = Steer("resid_post", 1, VECTOR, 1.0, operator="project")
    unit = VECTOR / VECTOR.norm()
    first, then = (
        native.replay(ids, [range(3)], capture=here, steer=steer)[0]["resid_post", 1] @ unit
        for steer in ((add, project), (project, add))
    )
    torch.testing.assert_close(first, torch.zeros(3), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(then, VECTOR.norm().expand(3), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("operator", ["add", "project", "clamp"])
def test_strengths_are_each_sequences_own_and_zero_changes_no_bit(backend, operator):
    strengths, values = (0.0, 1.0, -0.5, 0.0, 2.0), (3.0, 3.0, -1.0, 0.0, 5.0)
    steer = [Steer("resid_post", 1, VECTOR, strengths, None, operator, values)]
    together = generate(backend, PROMPTS, steer, tokens=6, lanes=3)
    plain = generate(backend, PROMPTS, (), tokens=6, lanes=3)
    for i, (each, without) in enumerate(zip(together, plain, strict=True)):
        moved = not torch.equal(each.activations["resid_post", 1], without.activations["resid_post", 1])
        assert moved == bool(strengths[i])
    positions = [range(len(prompt)) for prompt in PROMPTS]
    here = Capture(("resid_post",), (1, 2))
    steered, unsteered = (backend.replay(PROMPTS, positions, capture=here, steer=s) for s in (steer, ()))
    for i, strength in enumerate(strengths):
        same = [torch.equal(steered[i][pair], unsteered[i][pair]) for pair in here.pairs()]
        assert same == ([True, True] if not strength else [False, False])
        if strength:
            own = [replace(steer[0], strength=strength, value=values[i])]
            (alone,) = backend.replay([PROMPTS[i]], [positions[i]], capture=here, steer=own)
            for pair in here.pairs():
                torch.testing.assert_close(steered[i][pair], alone[pair], rtol=0, atol=TOLERANCE)


def test_no_strength_at_all_is_no_write():
    nothing = Steering([Steer("resid_post", 1, VECTOR, 0.0), Steer("mlp_out", 0, VECTOR, (0.0, 0.0))])
    assert not nothing
    assert nothing.writes([0, 1], torch.arange(4)[None]) == {}


@pytest.mark.parametrize("ranges", [None, (range(3), range(3))])
@pytest.mark.parametrize("operator", ["add", "project"])
def test_a_row_of_strength_zero_keeps_even_the_sign_of_a_zero(ranges, operator):
    steer = [Steer("resid_post", 1, torch.ones(4), (0.0, 1.0), ranges, operator)]
    write = Steering(steer).writes([0, 1], torch.arange(3)[None])["resid_post", 1]
    before = torch.full((2, 3, 4), -0.0)
    assert torch.equal(write(before)[0].view(torch.int32), before[0].view(torch.int32))


def test_left_padded_rows_are_steered_at_their_own_positions():
    """A forward pass of our own, with a mask and positions, through each engine."""
    sequences = [[5, 17, 80, 3, 9, 41, 22], [60, 2, 33], [7, 7, 12, 90, 55]]
    ranges = (range(2, 4), range(1, 3), range(1))
    for name in BACKENDS:
        engine = make_engine(name, tiny_model("llama"))
        steer = [
            Steer("resid_post", 1, VECTOR, (2.0, -1.0, 0.5), ranges),
            Steer("mlp_out", 0, VECTOR, 1.0, ranges, "clamp", (1.0, 2.0, 3.0)),
        ]
        inputs = left_padded(sequences)
        left, _ = run(engine, inputs, writes=Steering(steer).writes(range(3), inputs["position_ids"]))
        positions = torch.arange(7)[None]
        right, _ = run(
            engine, {"input_ids": right_padded(sequences)}, writes=Steering(steer).writes(range(3), positions)
        )
        plain, _ = run(engine, {"input_ids": right_padded(sequences)})
        for row, ids in enumerate(sequences):
            for pair in right:
                torch.testing.assert_close(
                    left[pair][row, -len(ids) :], right[pair][row, : len(ids)], rtol=0, atol=TOLERANCE
                )
            assert not torch.equal(right["resid_post", 2][row, : len(ids)], plain["resid_post", 2][row, : len(ids)])


# Spans while they are written


@pytest.mark.parametrize("lanes", [None, 2])
def test_a_span_is_steered_while_it_is_written_as_in_a_replay_of_what_was_written(backend, script, lanes):
    script(TEXTS)
    steer = [
        Steer("resid_post", 1, VECTOR, (2.0, 1.0, 3.0, -1.0, 1.0), scopes("think", PROMPTS)),
        Steer("mlp_out", 0, VECTOR, 1.0, scopes("answer", PROMPTS), "clamp", 4.0),
    ]
    made = generate(backend, PROMPTS, steer, lanes=lanes)
    assert [TOKENIZER.decode(each.completion_ids[:-1]) for each in made] == list(TEXTS)
    by_scope = assert_as_replayed(backend, PROMPTS, made, steer)
    known = [
        replace(steer[0], ranges=spans_of("think", PROMPTS, made)),
        replace(steer[1], ranges=spans_of("answer", PROMPTS, made)),
    ]
    by_range = assert_as_replayed(backend, PROMPTS, made, known)
    plain = backend.replay(
        [fed(p, m) for p, m in zip(PROMPTS, made, strict=True)],
        [range(len(p) - 1, len(fed(p, m))) for p, m in zip(PROMPTS, made, strict=True)],
        capture=PAIRS,
    )
    for i, (one, other, without) in enumerate(zip(by_scope, by_range, plain, strict=True)):
        assert all(torch.equal(one[pair], other[pair]) for pair in PAIRS.pairs())
        begin = len(PROMPTS[i]) - 1
        think, answer = known[0].ranges[i], known[1].ranges[i]
        # The first site is steered in the answer only, so tokens up to it are as they were there.
        moved = (one["mlp_out", 0] != without["mlp_out", 0]).any(dim=1).nonzero()[:, 0] + begin
        assert moved.tolist() == [p for p in answer if p < begin + len(one["mlp_out", 0])]
        assert (think or answer) and not torch.equal(one["resid_post", 2], without["resid_post", 2])


def test_several_samples_of_a_prompt_have_spans_of_their_own(backend, script):
    script(TEXTS)
    prompts = [PROMPTS[0]] * len(TEXTS)
    steer = [Steer("resid_post", 0, VECTOR, (1.0, 2.0, 3.0, 4.0, 5.0), scopes("think", prompts))]
    made = generate(backend, prompts, steer, lanes=3)
    known = [replace(steer[0], ranges=spans_of("think", prompts, made))]
    assert_as_replayed(backend, prompts, made, known)


def prefilled(backend, monkeypatch):
    """Rows of every forward pass over prompts, once the backend has tried itself out."""
    assert backend.why_not_in_flight is None
    rows, original = [], backend.engine.forward

    def forward(inputs, **rest):
        if inputs["input_ids"].shape[1] > 1:
            rows.append(len(inputs["input_ids"]))
        return original(inputs, **rest)

    monkeypatch.setattr(backend.engine, "forward", forward)
    return rows


@pytest.mark.parametrize(
    ("strength", "where", "shared"),
    [
        (2.0, None, 1),
        ((1.0, 2.0, 3.0), None, 3),
        ((0.0, 2.0, 2.0), None, 2),
        ((1.0, 2.0, 3.0), "think", 1),
        ((1.0, 2.0, 3.0), "completion", 1),
        ((0.0, 2.0, 3.0), "completion", 2),
        (2.0, "completion", 1),
        (2.0, "differs", 2),
    ],
)
def test_equal_prompts_share_a_prefill_where_the_same_is_done_to_them(native, monkeypatch, strength, where, shared):
    prompts = [PROMPTS[1]] * 3
    last = len(PROMPTS[1]) - 1
    ranges = {
        None: None,
        "think": scopes("think", prompts),
        "completion": (range(last, 1 << 40),) * 3,
        "differs": (range(last, last + 1), range(last, 99), range(2)),
    }[where]
    steer = [Steer("resid_post", 1, VECTOR, strength, ranges)]
    rows = prefilled(native, monkeypatch)
    made = generate(native, prompts, steer, tokens=5)
    assert rows == [shared]
    monkeypatch.undo()
    assert_as_replayed(native, prompts, made, steer)
    alone = [
        generate(
            native,
            [prompt],
            [
                replace(
                    steer[0],
                    strength=strength[i] if isinstance(strength, tuple) else strength,
                    ranges=None if ranges is None else (ranges[i],),
                )
            ],
            tokens=5,
            seeds=[i],
        )[0]
        for i, prompt in enumerate(prompts)
    ]
    for each, single in zip(made, alone, strict=True):
        assert each.completion_ids == single.completion_ids
        for pair in PAIRS.pairs():
            torch.testing.assert_close(each.activations[pair], single.activations[pair], rtol=0, atol=TOLERANCE)


def test_memory_that_runs_out_begins_the_scopes_again(native, script, monkeypatch):
    script(TEXTS)
    steer = [Steer("resid_post", 1, VECTOR, 2.0, scopes("think", PROMPTS))]
    original, failed = inflight.InFlight._step, []

    def step(self):
        if self.most > 2 and self.steps == 4:
            failed.append(self.most)
            raise MemoryError
        original(self)

    monkeypatch.setattr(inflight.InFlight, "_step", step)
    made = generate(native, PROMPTS, steer)
    assert failed == [5]
    assert_as_replayed(native, PROMPTS, made, [replace(steer[0], ranges=spans_of("think", PROMPTS, made))])


# Scopes, token by token


class Pieces:
    """A tokenizer whose tokens are the pieces that a test cuts a text into; some characters are in two of them."""

    eos_token_id = None

    def __init__(self):
        self.pieces: list[bytes] = []

    def cut(self, text: str, generator: torch.Generator, most: int) -> list[int]:
        content, ids = text.encode(), []
        while content:
            size = int(torch.randint(1, most + 1, (1,), generator=generator))
            ids.append(len(self.pieces))
            self.pieces.append(content[:size])
            content = content[size:]
        return ids

    def decode(self, ids, **options):
        return b"".join(self.pieces[i] for i in ids).decode("utf-8", errors="replace")

    def convert_tokens_to_ids(self, tokens):
        return [None for _ in tokens]


WRITTEN = {
    "think": ("<think>a chain, é and 漢字\n</think>\n\nAnswer: A", "<think></think>B", "Answer: C", "<think>cut of"),
    "harmony": (
        "<|channel|>analysis<|message|>think, then<|end|><|start|>assistant<|channel|>final<|message|>Answer: ü",
        "<|channel|>final<|message|>at once",
        "<|channel|>analysis<|message|>cut",
    ),
    "gemma": ("<|channel>thought\nhm, 漢\n<channel|>Answer: A", "<|channel>thought no line<channel|>B", "C"),
}
OPEN = {"think": "<think>\n", "harmony": "<|channel|>analysis<|message|>", "gemma": "<|channel>thought\n"}


@pytest.mark.parametrize("span", ["think", "answer"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_scope_says_of_every_token_what_the_finished_text_says(name, span):
    form: ReasoningFormat = FORMATS[name]
    generator = torch.Generator().manual_seed(3)
    seen = 0
    for round_ in range(120):
        tokenizer = Pieces()
        text = WRITTEN[name][round_ % len(WRITTEN[name])]
        opening = OPEN[name].strip()
        is_open = round_ % 2 and text.startswith(opening)
        begun = f"ask {OPEN[name]}" if is_open else "ask "
        text = text.removeprefix(opening).removeprefix("\n") if is_open else text
        prompt = tokenizer.cut(begun, generator, 3)
        completion = tokenizer.cut(text, generator, 1 + round_ % 6)
        spans = locate_spans(prompt, completion, tokenizer, form)
        expected = [i in range(*getattr(spans, span)) for i in range(len(prompt) + len(completion))]
        if name == "harmony" and span == "answer" and "final" not in text:
            expected = [False] * len(expected)  # no header yet: what comes may be one
        scope = SpanScope(span, prompt, tokenizer, form)
        follow = scope.follow()
        piecemeal = [*follow(prompt), *(said for token in completion for said in follow([token]))]
        assert piecemeal == scope.follow()([*prompt, *completion])
        assert piecemeal == expected, (text, [tokenizer.pieces[i] for i in completion])
        seen += sum(expected)
    assert seen > 300


def test_what_looks_like_a_delimiter_is_left_alone_until_it_is_none():
    prompt = ids_of("q")
    text = "<think>a < b</c</think>D"
    said = SpanScope("think", prompt, TOKENIZER, THINK).follow()([*prompt, *ids_of(text)])
    steered = "".join(c for c, is_in in zip(text, said[len(prompt) :], strict=True) if is_in)
    assert steered == "a  bc"


def test_a_prompt_whose_think_block_is_closed_is_answered_at_once():
    prompt = ids_of("q<think>\n\n</think>\n\n")
    text = "Answer: <think>no</think>"
    said = SpanScope("answer", prompt, TOKENIZER, THINK).follow()([*prompt, *ids_of(text)])
    assert said == [False] * len(prompt) + [True] * len(text)


@pytest.mark.parametrize(
    ("text", "begins"),
    [("two", 9), ("a", 0), ("wri", 18), ("ask", 0), ("?h", None), ("absent", None)],
)
def test_from_a_text_on(text, begins):
    prompt, completion = ids_of("ask one, two?"), ids_of("he writes. he writes")
    scope = TextScope(text, prompt, TOKENIZER)
    whole = [*prompt, *completion]
    first = len(whole) if begins is None else begins if begins < 13 else 13 + 5
    expected = [i >= first for i in range(len(whole))]
    follow = scope.follow()
    assert [*follow(prompt), *(said for token in completion for said in follow([token]))] == expected
    assert scope.follow()(whole) == expected


def test_a_text_of_characters_that_several_tokens_spell_is_found():
    tokenizer, generator = Pieces(), torch.Generator().manual_seed(0)
    prompt, completion = tokenizer.cut("ask", generator, 1), tokenizer.cut("é: 漢字, so", generator, 1)
    said = TextScope("漢字", prompt, tokenizer).follow()([*prompt, *completion])
    assert said.index(True) == len(prompt) + len("é: 漢字".encode()) - 1 and all(said[said.index(True) :])


def test_from_a_text_on_in_the_prompt_begins_with_the_token_that_holds_its_beginning():
    tokenizer, generator = Pieces(), torch.Generator().manual_seed(0)
    prompt = tokenizer.cut("ask about Trial 1: do", generator, 4)
    said = TextScope("Trial", prompt, tokenizer).follow()(prompt)
    starts = [len(tokenizer.decode(prompt[:i])) for i in range(len(prompt) + 1)]
    assert said == [stop > 10 for stop in starts[1:]]


# Numbers that are none


@pytest.mark.parametrize("lanes", [None, 2])
def test_a_strength_that_overflows_ends_its_own_sequence_and_no_other(backend, lanes):
    huge = torch.full((32,), 1e38)
    strengths = (0.0, 100.0, 0.0, 0.0, 0.0)
    steer = [Steer("resid_post", 1, huge, strengths)]
    made = generate(backend, PROMPTS, steer, tokens=5, lanes=lanes, watch=[7, 8])
    plain = generate(backend, PROMPTS, (), tokens=5, lanes=lanes, watch=[7, 8])
    assert made[1].finish == "not_finite" and made[1].completion_ids == []
    assert made[1].watched.shape == (1, 2) and made[1].watched.isnan().all()
    for i in (0, 2, 3, 4):
        assert made[i].finish in ("stop", "length") and made[i].completion_ids == plain[i].completion_ids
        assert torch.equal(made[i].watched, plain[i].watched)


def test_a_sequence_that_overflows_midway_keeps_what_it_wrote(native, script):
    script(TEXTS)
    steer = [Steer("resid_post", 0, torch.full((32,), 1e38), (0.0, 100.0, 0.0, 0.0, 100.0), scopes("answer", PROMPTS))]
    made = generate(native, PROMPTS, steer)
    assert [each.finish for each in made] == ["stop", "not_finite", "stop", "stop", "not_finite"]
    assert TOKENIZER.decode(made[1].completion_ids) == "<think>three</think>B"
    assert len(made[1].activations["resid_post", 0]) == len(made[1].completion_ids) + 1
    assert not made[1].activations["resid_post", 0][:-1].isinf().any()


def test_a_model_that_overflows_by_itself_is_an_error_as_before():
    model = tiny_model("llama")
    model.lm_head.weight.data.fill_(math.inf)
    with pytest.raises(ModelError, match="logits that are not numbers"):
        generate(make_backend("native", model), [PROMPTS[0]], ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strength": (1.0,)}, "strengths for 1 sequences, and there are 2"),
        ({"value": (1.0, 2.0, 3.0)}, "values for 3 sequences"),
        ({"strength": math.nan}, "finite numbers"),
        ({"operator": "push"}, "no operator 'push'"),
        ({"vector": torch.zeros(32), "operator": "project"}, "zeros has no direction to project"),
        ({"vector": torch.full((32,), math.nan)}, "NaN or infinity"),
    ],
)
def test_what_cannot_be_steered_is_refused(native, change, said):
    steer = [replace(Steer("resid_post", 1, VECTOR, 1.0), **change)]
    with pytest.raises(SpecError, match=said):
        generate(native, PROMPTS[:2], steer, tokens=1)
    with pytest.raises(SpecError, match=said):
        native.replay(PROMPTS[:2], [[0], [0]], capture=PAIRS, steer=steer)
