"""Transcripts from elsewhere: what is replayed is what was given, and what cannot be is one line that says where."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from introspect.backends import Capture
from introspect.cli import main
from introspect.errors import RunError, SpecError
from introspect.experiment import CaptureSpec
from introspect.interchange.inspect_log import read_inspect_log
from introspect.models import load_model, render_prompt
from introspect.progress import silent
from introspect.record import store_spec
from introspect.rollout import read_rollouts
from introspect.rows import Rows
from introspect.selection import Selection
from introspect.store import StoreReader, estimated_bytes, verify
from introspect.transcripts import (
    ReplaySpec,
    as_rollouts,
    estimate_transcripts,
    read_replay_spec,
    read_transcripts,
    record_transcripts,
    replay,
    transcript,
)
from tiny_folders import edit_json, save_tiny, tiny_tokenizer

FIXTURES = Path(__file__).parent / "fixtures"
LOG = FIXTURES / "inspect_log.json"
"""Eight samples, as inspect-ai 0.3.285 writes them."""
EOS = 2
TOLERANCE = 1e-5
"""Replay packs sequences of several lengths; in float32 the sums of a padded batch differ in their last bits."""
IN_IDS = [
    {"prompt_ids": [4, 10, 11, 2, 5], "completion_ids": [20, 21, 22, EOS]},
    {"prompt_ids": [4, 12, 2, 5], "completion_ids": [30, 31, 32, 33, 34, 35], "id": "b", "fields": {"risky": True}},
    {"prompt_ids": [4, 12, 2, 5], "completion_ids": [40], "id": "b"},
]
CHAIN = "<think>\nEasy.\n</think>\n\n4"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tiny):
    return load_model(str(tiny), dtype="float32")


def spec_for(model: Path, **capture: object) -> ReplaySpec:
    return ReplaySpec(model=str(model), dtype="float32", capture=CaptureSpec(**capture))


def written(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def rollouts_of(tmp_path: Path, loaded, *lines: dict):
    return as_rollouts(loaded, read_transcripts(written(tmp_path / "lines.jsonl", list(lines))))


def files_of(run: Path) -> dict[str, bytes]:
    files = [run / "rollouts.jsonl", run / "transcripts.yaml", *(run / "activations").iterdir()]
    return {file.name: file.read_bytes() for file in files if not file.name.startswith(".")}


class TestTokenIds:
    def test_are_replayed_as_they_are_and_give_what_transformers_gives(self, tiny, tmp_path):
        source = written(tmp_path / "t.jsonl", IN_IDS)
        found = record_transcripts(source, spec_for(tiny, layers=(0, -2)), tmp_path / "run")
        model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
        reader = StoreReader(tmp_path / "run" / "activations")
        columns = reader.columns()
        rollouts = read_rollouts(tmp_path / "run" / "rollouts.jsonl")
        for row, given in zip(rollouts, IN_IDS, strict=True):
            assert (row.prompt_ids, row.completion_ids) == (given["prompt_ids"], given["completion_ids"])
            mine = columns["rollout"] == row.rollout
            kept = range(len(row.prompt_ids) - 1, len(row.token_ids) - (row.finish == "stop"))
            assert columns["position"][mine].tolist() == list(kept)
            assert columns["token_id"][mine].tolist() == [row.token_ids[position] for position in kept]
            with torch.inference_mode():
                hidden = model(torch.tensor([row.token_ids]), output_hidden_states=True).hidden_states
            for layer in (0, 1):
                stored = torch.from_numpy(reader.read("resid_post", layer))[torch.from_numpy(mine)]
                torch.testing.assert_close(stored, hidden[layer + 1][0, list(kept)], atol=TOLERANCE, rtol=TOLERANCE)
        assert (found.transcripts, found.tokens, found.rows) == (3, 24, sum(columns["rollout"] >= 0))
        assert (found.without_rows, found.retokenised, found.left_out) == (0, 0, {})

    def test_are_stored_bit_for_bit_as_the_backend_replays_them(self, tiny, tmp_path):
        from introspect.backends import Capture, make_backend

        one = IN_IDS[1]
        record_transcripts(written(tmp_path / "t.jsonl", [one]), spec_for(tiny, layers="all"), tmp_path / "run")
        ids = one["prompt_ids"] + one["completion_ids"]
        model = load_model(str(tiny), dtype="float32").model
        capture = Capture(("resid_post",), (0, 1, 2))
        again = make_backend("native", model).replay([ids], [range(3, len(ids))], capture=capture)[0]
        reader = StoreReader(tmp_path / "run" / "activations")
        for layer in range(3):
            assert torch.equal(torch.from_numpy(reader.read("resid_post", layer)), again["resid_post", layer])

    def test_become_rollouts_that_claim_nothing_they_do_not_say(self, loaded, tmp_path):
        first, second, third = rollouts_of(tmp_path, loaded, *IN_IDS)
        assert [(row.item_id, row.group, row.sample, row.finish) for row in (first, second, third)] == [
            ("1", "1", 0, "stop"),
            ("b", "b", 0, "length"),
            ("b", "b", 1, "length"),
        ]
        assert (second.fields, first.answer, first.acted, first.options) == ({"risky": True}, None, None, {})
        assert (first.task, first.think_status) == ("transcripts", "absent")

    def test_need_no_chat_template(self, tmp_path):
        save_tiny(tmp_path / "model")
        (tmp_path / "model" / "chat_template.jinja").unlink()
        record_transcripts(written(tmp_path / "t.jsonl", IN_IDS), spec_for(tmp_path / "model"), tmp_path / "run")


class TestText:
    def test_a_user_message_is_rendered_and_the_completion_tokenised_by_itself(self, tiny, loaded, tmp_path):
        (row,) = rollouts_of(tmp_path, loaded, {"prompt": "Hi", "completion": CHAIN + "</s>"})
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        assert row.prompt_ids == render_prompt(loaded, "Hi")
        assert row.completion_ids == [*tokenizer(CHAIN, add_special_tokens=False).input_ids, EOS]
        assert (row.think_status, row.finish, row.prompt_text) == ("closed", "stop", "Hi")
        begin, end = row.spans.think
        assert tokenizer.decode(row.token_ids[begin:end]).strip() == "Easy."

    def test_messages_give_the_ids_that_one_user_message_gives(self, loaded, tmp_path):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        rows = rollouts_of(
            tmp_path,
            loaded,
            {"prompt": messages, "completion": "a"},
            {"prompt": "Hi", "system": "Be brief.", "completion": "a"},
        )
        assert rows[0].prompt_ids == rows[1].prompt_ids == render_prompt(loaded, "Hi", "Be brief.")
        assert rows[0].prompt_text == "Hi"

    @pytest.mark.parametrize(
        ("template_ends", "spelled"),
        [("", CHAIN), ("<think>\n", "Easy.\n</think>\n\n4"), ("<think>", "\nEasy.\n</think>\n\n4")],
    )
    def test_a_chain_that_was_taken_out_is_put_back_as_the_model_writes_it(self, tmp_path, template_ends, spelled):
        model = thinking_model(tmp_path, template_ends)
        line = {"prompt": "Hi", "reasoning": "\nEasy.\n", "completion": "\n\n4"}
        (row,) = rollouts_of(tmp_path, model, line)
        assert (row.completion_text, row.think_status) == (spelled, "closed")

    def test_a_chain_without_an_answer_was_cut_off(self, tmp_path):
        model = thinking_model(tmp_path, "")
        (row,) = rollouts_of(tmp_path, model, {"prompt": "Hi", "reasoning": "So", "completion": ""})
        assert (row.completion_text, row.think_status) == ("<think>\nSo", "truncated")

    def test_without_a_chat_template_is_one_line_that_says_what_to_give(self, tmp_path):
        save_tiny(tmp_path / "model")
        (tmp_path / "model" / "chat_template.jinja").unlink()
        model = load_model(str(tmp_path / "model"), dtype="float32")
        with pytest.raises(SpecError, match=r"lines.jsonl:1: .* has no chat template .*give prompt_ids"):
            rollouts_of(tmp_path, model, {"prompt": "Hi", "completion": "a"})

    @pytest.mark.parametrize(
        ("ends", "line", "said"),
        [
            ("<think>\n", {"completion": CHAIN}, "already ends in '<think>'"),
            ("<think>\n\n</think>\n\n", {"completion": "4", "reasoning": "Easy."}, "no room for reasoning"),
        ],
    )
    def test_a_prompt_and_a_completion_that_do_not_go_together_are_refused(self, tmp_path, ends, line, said):
        with pytest.raises(SpecError, match=f"lines.jsonl:1: .*{said}"):
            rollouts_of(tmp_path, thinking_model(tmp_path, ends), {"prompt": "Hi"} | line)

    def test_a_template_that_refuses_messages_names_the_line(self, tmp_path):
        model = thinking_model(tmp_path, "{{ raise_exception('roles must alternate') }}")
        line = {"prompt": [{"role": "user", "content": "Hi"}], "completion": "a"}
        with pytest.raises(SpecError, match=r"lines.jsonl:1: .*roles must alternate"):
            rollouts_of(tmp_path, model, line)


def thinking_model(tmp_path: Path, template_ends: str):
    """A tiny model whose template leaves this after the assistant's header."""
    save_tiny(tmp_path / "thinking")
    tokenizer = tiny_tokenizer()
    assert tokenizer.chat_template.endswith("<bot>{% endif %}")
    tokenizer.chat_template = tokenizer.chat_template.replace("<bot>{% endif %}", f"<bot>{template_ends}{{% endif %}}")
    tokenizer.save_pretrained(tmp_path / "thinking")
    return load_model(str(tmp_path / "thinking"), dtype="float32")


IDS = '"prompt_ids": [4], "completion_ids": [5]'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "invalid JSON"),
        ("[1]", "should be an object"),
        ("{}", "give either prompt_ids and completion_ids, or prompt and completion"),
        ('{"prompt_ids": [4]}', "give either"),
        ('{"prompt": "a"}', "give either"),
        ('{IDS, "prompt": "a"}', "give either"),
        ('{IDS, "reasoning": "a"}', "give either"),
        ('{IDS, "system": "a"}', "give either"),
        ('{"prompt_id": [4], "completion_ids": [5]}', "unknown key 'prompt_id'; did you mean 'prompt_ids'"),
        ('{IDS, "xyzzy": 1}', "the keys here are prompt_ids"),
        ('{"prompt_ids": [], "completion_ids": [5]}', "prompt_ids: .*at least 1"),
        ('{"prompt_ids": [4], "completion_ids": []}', "completion_ids: .*at least 1"),
        ('{"prompt_ids": [4], "completion_ids": [5.5]}', "completion_ids.0: .*integer"),
        ('{"prompt_ids": [4], "completion_ids": [true]}', "completion_ids.0: .*integer"),
        ('{"prompt_ids": [4], "completion_ids": [97]}', "token id 97 is none of the 97"),
        ('{"prompt_ids": [-1], "completion_ids": [5]}', "token id -1 is none"),
        (json.dumps({"prompt_ids": [4], "completion_ids": [5] * 512}), "513 tokens are over the context"),
        ('{"prompt": "a", "completion": ""}', "the completion is empty"),
        ('{"prompt": [], "completion": "a"}', "prompt: .*at least 1"),
        ('{"prompt": [{"role": "user"}], "completion": "a"}', "prompt.0.content: field required"),
        ('{"prompt": [{"role": "tool", "content": "a"}], "completion": "a"}', "prompt.0.role: "),
        ('{"prompt": [{"rol": "user", "content": "a"}], "completion": "a"}', "unknown key 'prompt.0.rol'; .*'role'"),
        ('{"prompt": [{"role": "assistant", "content": "a"}], "completion": "a"}', "ends with the user's"),
        ('{"prompt": [{"role": "user", "content": "a"}], "system": "s", "completion": "a"}', "system message among"),
        ('{IDS, "fields": {"a": [1]}}', "fields.a: "),
        ('{IDS, "fields": {"a": NaN}}', "fields.a: .*finite"),
        ('{IDS, "sample": -1}', "sample: "),
        ('{IDS, "id": "twice", "sample": 0}', "'twice' has a sample 0 already"),
        ('{"prompt": "\\ud800", "completion": "a"}', "invalid JSON"),
    ],
)
def test_a_bad_line_is_one_line_that_names_it(loaded, tmp_path, line, said):
    good = '{IDS, "id": "twice"}\n\n'
    path = tmp_path / "t.jsonl"
    path.write_text((good + line + "\n").replace("IDS", IDS))
    with pytest.raises(SpecError, match=rf"^\S*t\.jsonl:3: .*{said}") as refused:
        as_rollouts(loaded, read_transcripts(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no transcripts"),
        (b"\n \n", "holds no transcripts"),
        (b'{"prompt": "\xff"}\n', ":1: not text in UTF-8"),
        (b'{"prompt": "' + b"a" * 200 + b'"}', ":1: more than 128 bytes"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr(transcript, "MAX_LINE_BYTES", 128)
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(SpecError, match=said):
        read_transcripts(tmp_path / "t.jsonl")


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(SpecError, match="no transcripts at"):
        read_transcripts(tmp_path)


def test_a_limit_reads_no_further(tmp_path):
    path = written(tmp_path / "t.jsonl", IN_IDS)
    path.write_text(path.read_text() + "{")
    assert len(read_transcripts(path, limit=3).transcripts) == 3


class TestSelection:
    def test_spans_and_means_are_kept_and_a_transcript_without_any_has_no_rows(self, tiny, tmp_path):
        lines = [{"prompt": "Hi", "completion": CHAIN}, {"prompt": "Hi", "completion": "4"}]
        spec = spec_for(tiny, spans=("think",), tokens="mean", layers="last", sites=("attn_out",))
        found = record_transcripts(written(tmp_path / "t.jsonl", lines), spec, tmp_path / "run")
        assert (found.rows, found.without_rows, found.retokenised) == (1, 1, 2)
        assert StoreReader(tmp_path / "run" / "activations").columns()["rollout"].tolist() == [0]
        assert len(read_rollouts(tmp_path / "run" / "rollouts.jsonl")) == 2

    def test_one_that_selects_nothing_anywhere_is_refused(self, tiny, tmp_path):
        source = written(tmp_path / "t.jsonl", IN_IDS)
        with pytest.raises(SpecError, match="--spans think selects no token"):
            record_transcripts(source, spec_for(tiny, spans=("think",)), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_part_holds_no_more_bytes_than_it_may(self, tiny, tmp_path, monkeypatch):
        source = written(tmp_path / "t.jsonl", IN_IDS)
        monkeypatch.setattr(replay, "PART_BYTES", 1)
        record_transcripts(source, spec_for(tiny), tmp_path / "run")
        assert len(list((tmp_path / "run" / "activations").glob("part-*.h5"))) == 3

    def test_a_part_of_means_is_measured_by_the_tokens_that_they_take(self, tiny, tmp_path, monkeypatch):
        sizes = []
        monkeypatch.setattr(replay, "replay", lambda *_, part_size, **__: sizes.append(part_size))
        rollouts = [SimpleNamespace()] * 3
        rows = [Rows([], {2: list(range(10))})] * 3
        loaded = load_model(str(tiny), dtype="float32")
        capture = Capture(("resid_post",), (0,))
        a_row = estimated_bytes(store_spec(capture, loaded, plan="", selection=Selection()), 1)
        monkeypatch.setattr(replay, "PART_BYTES", 25 * a_row)
        replay.replay_rows(
            tmp_path,
            rollouts,
            rows,
            loaded=loaded,
            backend=None,
            capture=capture,
            selection=Selection(),
            progress=silent,
        )
        assert sizes == [2]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"layers": "first"}, "--layers: cannot read 'first'"),
            ({"layers": "0,0"}, "--layers: 0 is named twice"),
            ({"sites": "resid"}, "--sites: .*, not 'resid'"),
            ({"spans": "think,tool"}, "--spans: .*, not 'tool'"),
            ({"tokens": "some"}, "--tokens: cannot read 'some'"),
            ({"tokens": "before_answer"}, "transcripts have no parsed answer"),
            ({"backend": "nativ"}, "--backend: .*, not 'nativ'"),
            ({"dtype": "int8"}, "--dtype: .*, not 'int8'"),
            ({"limit": 0}, "--limit: .*, not 0"),
        ],
    )
    def test_an_option_that_says_nothing_names_itself(self, options, said):
        with pytest.raises(SpecError, match=said):
            read_replay_spec({"model": "m"} | options)

    def test_options_are_lists_by_commas(self):
        spec = read_replay_spec({"model": "m", "layers": "0,-1", "sites": "attn_out,mlp_out", "spans": "think,answer"})
        assert spec.capture.layers == (0, -1)
        assert (spec.capture.sites, spec.capture.spans) == (("attn_out", "mlp_out"), ("think", "answer"))
        assert read_replay_spec({"model": "m", "layers": "4:28:4"}).capture.layers == "4:28:4"


KILLED = """
import os, signal, sys
from introspect.cli import main
from introspect.store import StoreWriter
commit = StoreWriter.commit_part
def commit_and_die(self, index, *args):
    commit(self, index, *args)
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
StoreWriter.commit_part = commit_and_die
main(sys.argv[1:])
"""


class TestRunDirectory:
    @pytest.fixture
    def many(self, tmp_path) -> Path:
        lines = [{"prompt_ids": [4, 5], "completion_ids": [6 + i % 60] * (1 + i % 7)} for i in range(200)]
        return written(tmp_path / "many.jsonl", lines)

    @pytest.mark.slow
    def test_a_kill_and_a_resume_end_in_the_same_bytes(self, tiny, many, tmp_path):
        command = f"record --from {many} --model {tiny} --dtype float32 --out {tmp_path / 'run'}".split()
        child = subprocess.run([sys.executable, "-c", KILLED, *command], capture_output=True, check=False)
        assert child.returncode == -signal.SIGKILL
        assert len(list((tmp_path / "run" / "activations").glob("part-*.h5"))) == 2
        assert verify(tmp_path / "run" / "activations").problems
        with pytest.raises(RunError, match="add --resume"):
            record_transcripts(many, spec_for(tiny), tmp_path / "run")
        record_transcripts(many, spec_for(tiny), tmp_path / "run", resume=True)
        record_transcripts(many, spec_for(tiny), tmp_path / "whole")
        assert files_of(tmp_path / "run") == files_of(tmp_path / "whole")
        assert not verify(tmp_path / "run" / "activations").problems

    def test_a_damaged_part_is_recorded_again(self, tiny, many, tmp_path):
        record_transcripts(many, spec_for(tiny), tmp_path / "run")
        whole = files_of(tmp_path / "run")
        victim = min((tmp_path / "run" / "activations").glob("part-*.h5"))
        victim.write_bytes(victim.read_bytes()[:-3])
        record_transcripts(many, spec_for(tiny), tmp_path / "run", resume=True)
        after = files_of(tmp_path / "run")
        assert after.pop(f"{victim.name}.bad")
        assert after == whole

    def test_other_transcripts_or_settings_are_refused(self, tiny, many, tmp_path):
        record_transcripts(many, spec_for(tiny), tmp_path / "run")
        with pytest.raises(RunError, match="other transcripts or settings"):
            record_transcripts(many, spec_for(tiny, layers="last"), tmp_path / "run", resume=True)
        many.write_text(many.read_text() + '{"prompt_ids": [4], "completion_ids": [5]}\n')
        with pytest.raises(RunError, match="other transcripts or settings"):
            record_transcripts(many, spec_for(tiny), tmp_path / "run", resume=True)

    @pytest.mark.parametrize("put", ["file", "text", "link"])
    def test_a_folder_that_is_not_ours_is_left_alone(self, tiny, many, tmp_path, put):
        run = tmp_path / "run"
        if put == "file":
            run.write_text("mine")
        else:
            run.mkdir()
        if put == "text":
            (run / "notes.txt").write_text("mine")
        if put == "link":
            (run / "activations").symlink_to(tmp_path)
        with pytest.raises(RunError, match="choose another --out"):
            record_transcripts(many, spec_for(tiny), run, resume=True)

    def test_a_disk_that_cannot_hold_it_is_noticed_before(self, tiny, many, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(RunError, match=r"0\.0 GB free"):
            record_transcripts(many, spec_for(tiny), tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / ".lock"]

    def test_memory_that_runs_out_is_one_line(self, tiny, many, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise MemoryError

        monkeypatch.setattr(replay, "replay", fail)
        with pytest.raises(RunError, match="not enough memory"):
            record_transcripts(many, spec_for(tiny), tmp_path / "run")

    def test_the_manifest_says_what_the_activations_are_of(self, tiny, tmp_path):
        lines = [*IN_IDS, {"prompt": "Hi", "completion": "4"}]
        source = written(tmp_path / "t.jsonl", lines)
        record_transcripts(source, spec_for(tiny), tmp_path / "run")
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        about = manifest["transcripts"]
        assert (about["source"], about["recorded"], about["retokenised"]) == ("t.jsonl", 4, 1)
        assert about["note"].startswith("1 of 4: token ids were made again from text")
        assert manifest["model"]["weight_digest"]
        assert manifest["versions"]["torch"] == torch.__version__

    def test_an_estimate_is_exact_and_writes_nothing(self, tiny, many, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        cost = estimate_transcripts(many, spec_for(tiny))
        assert sorted(tmp_path.rglob("*")) == before
        found = record_transcripts(many, spec_for(tiny), tmp_path / "run")
        assert (cost.n_transcripts, cost.n_tokens, cost.n_rows) == (200, found.tokens, found.rows)
        parts = list((tmp_path / "run" / "activations").glob("part-*.h5"))
        stored = sum(part.stat().st_size for part in parts)
        lines = (tmp_path / "run" / "rollouts.jsonl").stat().st_size
        assert 0 < stored + lines - cost.bytes_on_disk < 64_000 * len(parts)
        assert cost.seconds > 0

    def test_an_estimate_says_how_far_it_is(self, tiny, many):
        told = []
        estimate_transcripts(many, spec_for(tiny), progress=lambda *each: told.append(each))
        assert told[:200] == [("read transcripts", done, 200) for done in range(1, 201)]
        assert told[200:] == [("a short replay", 0, 1), ("a short replay", 1, 1)]


EXPECTED = {
    ("7", 0): "Answer: 4",
    ("cut", 0): "<think>\nSo, two",
    ("sum", 0): "<think>\nTwo and two.\n</think>\n\nAnswer: 4",
    ("sum", 1): "<think>\nFour.\n</think>\n\nAnswer: 4",
    ("talk", 0): "Yes.",
}
LEFT_OUT = {"without an answer": 1, "with redacted reasoning": 1, "with tool calls": 1}


@pytest.fixture
def fake_inspect(monkeypatch):
    """As much of inspect-ai as the reader touches, for machines without it: the recorded log's own objects."""

    def read_eval_log(log_file, *, resolve_attachments, exclude_fields):
        log = json.loads(Path(log_file).read_text(), object_hook=lambda pairs: SimpleNamespace(**pairs))
        for sample in log.samples:
            sample.metadata = vars(sample.metadata)
        return log

    monkeypatch.setitem(sys.modules, "inspect_ai", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "inspect_ai.log", SimpleNamespace(read_eval_log=read_eval_log))


class TestInspectLog:
    def test_samples_become_transcripts_with_their_reasoning_put_back(self, fake_inspect, loaded):
        source = read_transcripts(LOG)
        rollouts = as_rollouts(loaded, source)
        assert {(row.item_id, row.sample): row.completion_text for row in rollouts} == EXPECTED
        assert source.left_out == LEFT_OUT
        assert source.retokenised == len(rollouts)
        by_item = {(row.item_id, row.sample): row for row in rollouts}
        assert by_item["sum", 0].fields == {"level": 1, "hard": False}
        assert by_item["sum", 0].prompt_ids == render_prompt(loaded, "2 + 2?", "Be brief.")
        assert by_item["7", 0].prompt_ids == render_prompt(loaded, "2 + 2?")
        assert by_item["talk", 0].prompt_text == "Sure?"

    def test_a_run_of_it_says_that_its_ids_were_made_from_text(self, fake_inspect, tiny, tmp_path):
        found = record_transcripts(LOG, spec_for(tiny), tmp_path / "run")
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        assert (found.transcripts, found.retokenised, found.left_out) == (5, 5, LEFT_OUT)
        assert manifest["transcripts"]["left_out"] == LEFT_OUT
        assert manifest["transcripts"]["note"].startswith("5 of 5")
        assert "inspect-ai" in manifest["versions"]

    def test_a_limit_counts_what_is_kept(self, fake_inspect):
        assert len(read_inspect_log(LOG, limit=2).samples) == 2

    def test_a_log_without_a_single_answer_says_why(self, fake_inspect, tmp_path):
        log = json.loads(LOG.read_text())
        log["samples"] = [sample for sample in log["samples"] if sample["id"] == "failed"]
        (tmp_path / "log.json").write_text(json.dumps(log))
        with pytest.raises(SpecError, match="no transcripts; 1 samples without an answer left out"):
            read_transcripts(tmp_path / "log.json")

    def test_a_model_that_the_log_does_not_fit_is_told_which_sample(self, fake_inspect, tmp_path):
        save_tiny(tmp_path / "short")
        edit_json(tmp_path / "short" / "config.json", max_position_embeddings=16)
        model = load_model(str(tmp_path / "short"), dtype="float32")
        with pytest.raises(SpecError, match=r"sample 7 of epoch 1: .* over the context"):
            as_rollouts(model, read_transcripts(LOG))

    def test_without_inspect_ai_the_remedy_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "inspect_ai", None)
        monkeypatch.delitem(sys.modules, "inspect_ai.log", raising=False)
        with pytest.raises(
            SpecError, match=r"needs inspect-ai: get it with `pip install '\.\[inspect\]'` in the folder"
        ):
            read_transcripts(LOG)

    def test_a_file_that_is_none_is_one_line(self, fake_inspect, tmp_path):
        (tmp_path / "log.eval").write_bytes(b"PK")
        (tmp_path / "log.json").write_bytes(b"{")
        for name in ("log.eval", "log.json"):
            with pytest.raises(SpecError, match=f"{name} cannot be read as an Inspect log") as refused:
                read_transcripts(tmp_path / name)
            assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("bound", ["MAX_LOG_BYTES", "MAX_UNPACKED_BYTES"])
    def test_a_file_that_would_fill_the_memory_is_refused(self, fake_inspect, tmp_path, monkeypatch, bound):
        import zipfile

        monkeypatch.setattr(f"introspect.interchange.inspect_log.{bound}", 1000)
        with zipfile.ZipFile(tmp_path / "log.eval", "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("samples/1.json", b" " * 2000)
        with pytest.raises(SpecError, match="more than 1,000 bytes"):
            read_transcripts(tmp_path / "log.eval")

    @pytest.mark.parametrize("suffix", [".eval", ".json"])
    def test_the_real_library_reads_and_writes_the_same(self, loaded, tmp_path, suffix):
        pytest.importorskip("inspect_ai", reason="the inspect extra clashes with constraints.txt (fsspec, dateutil)")
        from inspect_ai.log import read_eval_log, write_eval_log

        path = tmp_path / f"log{suffix}"
        write_eval_log(read_eval_log(str(LOG)), str(path))
        source = read_transcripts(path)
        rollouts = as_rollouts(loaded, source)
        assert {(row.item_id, row.sample): row.completion_text for row in rollouts} == EXPECTED
        assert source.left_out == LEFT_OUT
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(SpecError, match="cannot be read as an Inspect log"):
            read_transcripts(path)


class TestCommandLine:
    @pytest.fixture
    def invoke(self, capsys, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)

        def run(*args):
            with pytest.raises(SystemExit) as stop:
                main(["record", *map(str, args)])
            out, err = capsys.readouterr()
            return stop.value.code, out, err

        return run

    def test_records_into_a_folder_named_after_the_file(self, invoke, tiny, tmp_path):
        source = written(tmp_path / "mine.jsonl", IN_IDS)
        code, out, err = invoke("--from", source, "--model", tiny, "--layers", "0,-1", "--tokens", "last")
        assert (code, out, err) == (0, "3 transcripts, 3 rows: runs/mine\n", "")
        assert (tmp_path / "runs" / "mine" / "activations" / "DONE").exists()
        code, out, err = invoke("--from", source, "--model", tiny, "--layers", "0,-1", "--tokens", "last")
        assert (code, out, err.count("\n"), "--resume" in err) == (2, "", 1, True)

    def test_json_is_one_document_and_text_is_said_to_be_tokenised_again(self, invoke, tiny, tmp_path):
        source = written(tmp_path / "t.jsonl", [{"prompt": "Hi", "completion": "4"}])
        code, out, err = invoke("--from", source, "--model", tiny, "--json")
        assert (code, json.loads(out)["retokenised"], json.loads(out)["run"]) == (0, 1, "runs/t")
        assert err == "note: 1 transcripts were tokenised again from text, which may differ from what was sampled\n"

    def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(self, invoke, tiny, tmp_path):
        source = written(tmp_path / "t.jsonl", IN_IDS)
        code, out, err = invoke("--from", source, "--model", tiny, "--dry-run", "--json")
        assert (code, err) == (0, "")
        assert {"n_transcripts": 3, "n_tokens": 24}.items() <= json.loads(out).items()
        code, out, _ = invoke("--from", source, "--model", tiny, "--dry-run")
        named = ["transcripts", "tokens", "rows", "weights", "on", "time"]
        assert [line.split()[0] for line in out.splitlines()] == named
        assert "about 1 s on this machine" in out
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("--model", "m"), "--from"),
            (("--from", "none.jsonl", "--model", "m"), "no transcripts at none.jsonl"),
            (("--from", "none.jsonl"), "--model"),
            (("--from", "none.jsonl", "--model", "m", "--layers", "x"), "--layers"),
        ],
    )
    def test_a_user_error_is_one_line_and_exit_2(self, invoke, args, said):
        code, out, err = invoke(*args)
        assert (code, out, err.count("\n"), said in err) == (2, "", 1, True)
