"""Exports hold what the run holds, to the bit, and come back as it was."""

from __future__ import annotations

import errno
import json
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import introspect
from interchange_materials import HOSTILE, SPEC, N, rollouts, small_run, stored
from introspect.cli import main
from introspect.errors import RunError, SpecError, StoreError
from introspect.interchange import inspect_log, outputs, tables
from introspect.interchange.arrays import export_arrays
from introspect.interchange.inspect_log import read_inspect_log, read_logged_rollouts
from introspect.interchange.lens import activation_cache, export_lens, read_lens
from introspect.interchange.outputs import check_out, new_place
from introspect.interchange.tables import export_tables, read_tables
from introspect.interchange.to_inspect import reasoning_and_text, sample_ids
from introspect.models import load_model
from introspect.notebook.folder import RunFolder
from introspect.rollout import read_rollouts
from introspect.store import StoreReader
from introspect.transcripts import (
    as_rollouts,
    estimate_transcripts,
    read_replay_spec,
    read_transcripts,
    record_transcripts,
)
from tiny_folders import save_tiny

COLUMNS, VALUES = stored()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def store(run) -> StoreReader:
    return StoreReader(run / "activations")


@pytest.fixture
def invoke(capsys):
    def running(*args):
        with pytest.raises(SystemExit) as stop:
            main(["export", *map(str, args)])
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return running


def load(path: Path) -> np.ndarray:
    return np.load(path)


class TestNumpy:
    def test_every_site_and_layer_has_the_stored_bits_beside_its_rows(self, store, tmp_path):
        index = export_arrays(store, tmp_path / "out")
        assert json.loads((tmp_path / "out" / "index.json").read_text()) == index
        assert (index["dtype"], index["stored_as"]) == ("uint16", "bfloat16") and "bfloat16" in index["note"]
        for name, expected in COLUMNS.items():
            assert np.array_equal(load(tmp_path / "out" / index["columns"][name]), expected)
        assert [(each["site"], each["layer"]) for each in index["activations"]] == SPEC.pairs()
        for each in index["activations"]:
            values = np.load(tmp_path / "out" / each["file"], mmap_mode="r")
            assert values.dtype == np.uint16
            assert np.array_equal(values, VALUES[each["site"], each["layer"]])

    def test_the_note_says_how_the_patterns_are_read(self, store, tmp_path):
        export_arrays(store, tmp_path / "bits")
        export_arrays(store, tmp_path / "numbers", numbers="float32")
        patterns = load(tmp_path / "bits" / "mlp_out.2.npy")
        numbers = load(tmp_path / "numbers" / "mlp_out.2.npy")
        assert numbers.dtype == np.float32
        assert np.array_equal((patterns.astype(np.uint32) << 16).view(np.float32), numbers, equal_nan=True)
        torch_reads = torch.from_numpy(VALUES["mlp_out", 2].view(np.int16)).view(torch.bfloat16).float().numpy()
        assert np.array_equal(numbers, torch_reads, equal_nan=True)

    def test_memory_holds_one_layer_of_one_part(self, store, tmp_path, monkeypatch):
        most, real = [], StoreReader.read

        def watched(self, site, layer, rows=None, *, native=False):
            most.append(len(rows))
            return real(self, site, layer, rows, native=native)

        monkeypatch.setattr(StoreReader, "read", watched)
        export_arrays(store, tmp_path / "out")
        assert max(most) < store.n_rows and len(most) == store.n_parts * len(SPEC.pairs())

    def test_what_is_not_kept_is_refused_and_nothing_is_left(self, store, tmp_path):
        with pytest.raises(RunError, match="keeps no layer 1: it has 0, 2; choose one"):
            export_arrays(store, tmp_path / "out", layers=[0, 1])
        with pytest.raises(RunError, match="keeps no site attn_out"):
            export_arrays(store, tmp_path / "out", sites=["attn_out"])
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_part_leaves_nothing(self, tmp_path):
        copy = small_run(tmp_path / "run")
        part = sorted((copy / "activations").glob("*.h5"))[1]
        content = bytearray(part.read_bytes())
        content[-20] ^= 1
        part.write_bytes(content)
        with pytest.raises(StoreError, match="damaged"):
            export_arrays(StoreReader(copy / "activations"), tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


class TestTransformerLens:
    def test_a_cache_has_the_stored_bits_under_the_names_of_hooks(self, run):
        opened = introspect.open_run(run)
        found = opened.activation_cache([7, 1])
        assert set(found.cache) == {
            f"blocks.{layer}.hook_{site}" for site in ("resid_post", "mlp_out") for layer in (0, 2)
        }
        for site, layer in SPEC.pairs():
            values = found.cache[site, layer]
            assert values.dtype == torch.bfloat16 and values.shape == (*found.positions.shape, SPEC.width)
            for i, number in enumerate((7, 1)):
                rows = COLUMNS["rollout"] == number
                kept = found.positions[i] >= 0
                assert np.array_equal(found.positions[i][kept], COLUMNS["position"][rows])
                assert np.array_equal(found.token_ids[i][kept], COLUMNS["token_id"][rows])
                own = values[i].view(torch.int16).numpy().view(np.uint16)
                assert np.array_equal(own[kept], VALUES[site, layer][rows])
                assert not own[~kept].any()
        assert (found.positions < 0).any(), "no rollout was padded"

    def test_layers_count_from_the_last_of_the_model(self, run):
        found = introspect.open_run(run).activation_cache([3], layers=[-1], sites=["mlp_out"])
        assert list(found.cache.keys()) == ["blocks.2.hook_mlp_out"]
        assert repr(found) == f"<LensCache: 1 hooks, 1 rollouts, {found.positions.shape[1]} positions>"

    def test_files_read_back_as_the_same_caches(self, store, tmp_path):
        assert export_lens(store, tmp_path / "out") == N
        for number in range(N):
            read = read_lens(tmp_path / "out" / f"rollout-{number:05d}.safetensors")
            made = activation_cache(store, [number])
            assert read.rollouts == made.rollouts == (number,)
            assert np.array_equal(read.positions, made.positions) and np.array_equal(read.token_ids, made.token_ids)
            assert set(read.cache) == set(made.cache)
            for name, values in made.cache.items():
                assert torch.equal(read.cache[name].view(torch.int16), values.view(torch.int16))

    def test_room_is_asked_for_what_is_written(self, store, tmp_path, monkeypatch):
        whole = sum(path.stat().st_size for path in store.path.glob("*.h5"))
        own = (COLUMNS["rollout"] == 3).sum() / len(COLUMNS["rollout"])
        free = SimpleNamespace(free=int(2 * own * whole))
        assert free.free < whole / 2
        monkeypatch.setattr(outputs.shutil, "disk_usage", lambda _: free)
        assert export_lens(store, tmp_path / "out", rollouts=[3]) == 1
        with pytest.raises(RunError, match="free space"):
            export_lens(store, tmp_path / "all")

    def test_columns_of_other_parts_are_not_kept(self, store, monkeypatch):
        monkeypatch.setattr(StoreReader, "columns", lambda _: pytest.fail("all columns at once"))
        found = activation_cache(store, [8, 0, 8])
        assert found.rollouts == (8, 0, 8) and np.array_equal(found.positions[0], found.positions[2])
        assert not np.array_equal(found.token_ids[0], found.token_ids[1])
        assert activation_cache(store, []).positions.shape == (0, 0)

    def test_a_rollout_that_is_not_there_is_named(self, store, tmp_path):
        with pytest.raises(RunError, match="keeps none of rollout 99"):
            activation_cache(store, [0, 99])
        with pytest.raises(RunError, match="keeps none of rollout 99"):
            export_lens(store, tmp_path / "out", rollouts=[0, 99])
        assert list(tmp_path.iterdir()) == []

    def test_a_strangers_file_that_does_not_hold_together_is_one_line(self, store, tmp_path):
        from safetensors.torch import load_file, save_file

        export_lens(store, tmp_path / "out", rollouts=[2])
        path = tmp_path / "out" / "rollout-00002.safetensors"
        good = load_file(path)
        whole = path.read_bytes()
        for changed in (
            {name: values for name, values in good.items() if "position" not in name},
            good | {"blocks.0.hook_resid_post": good["blocks.0.hook_resid_post"][:, :-1].clone()},
            good | {"introspect.position": good["introspect.position"].float()},
        ):
            save_file(changed, path)
            with pytest.raises(StoreError, match=r"rollout-00002\.safetensors is no exported rollout"):
                read_lens(path)
        path.write_bytes(whole[:-5])
        with pytest.raises(StoreError, match="is no exported rollout"):
            read_lens(path)
        link = tmp_path / "rollout-1.safetensors"
        link.symlink_to(path)
        with pytest.raises(StoreError, match="cannot read"):
            read_lens(link)


class TestParquet:
    def test_tables_read_back_as_the_run(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(tables, "ROWS", 4)
        folder = RunFolder(run)
        written = export_tables(folder, tmp_path / "out")
        assert written == {"rollouts.parquet": N, "verdicts.parquet": N, "readouts.parquet": N - 1}
        found = read_tables(tmp_path / "out")
        assert found.rollouts == rollouts() == folder.rollouts
        assert [type(v) for each in found.rollouts for v in each.fields.values()] == [
            type(v) for each in rollouts() for v in each.fields.values()
        ]
        assert {each.rollout: each.verdict_given() for each in found.verdicts} == dict(folder.verdicts["lexical"])
        assert {each.rollout: each for each in found.readouts} == folder.readouts

    def test_columns_have_the_same_types_where_everything_is_missing(self, run, tmp_path):
        bare = small_run(tmp_path / "bare")
        lines = [
            each.model_copy(update={"answer": None, "answer_position": None, "acted": None, "option_logprobs": []})
            for each in rollouts()
        ]
        (bare / "rollouts.jsonl").write_text("".join(each.line() for each in lines), encoding="utf-8")
        for name in ("verdicts.jsonl", "readouts.jsonl"):
            (bare / name).unlink()
        assert export_tables(RunFolder(bare), tmp_path / "none") == {"rollouts.parquet": N}
        export_tables(RunFolder(run), tmp_path / "some")
        schemas = [pq.read_schema(tmp_path / name / "rollouts.parquet") for name in ("none", "some")]
        assert schemas[0].equals(schemas[1])
        assert read_tables(tmp_path / "none") == (lines, [], [])

    def test_pandas_reads_ids_and_texts(self, run, tmp_path):
        import pandas as pd

        export_tables(RunFolder(run), tmp_path / "out")
        frame = pd.read_parquet(tmp_path / "out" / "rollouts.parquet").set_index("rollout")
        assert frame.loc[1, "think_text"] == HOSTILE
        assert frame.loc[3, "completion_ids"].tolist() == rollouts()[3].completion_ids

    def test_other_columns_a_link_or_damage_are_one_line(self, run, tmp_path):
        export_tables(RunFolder(run), tmp_path / "out")
        path = tmp_path / "out" / "rollouts.parquet"
        whole = path.read_bytes()
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(["seed"]), path)
        with pytest.raises(StoreError, match="other columns"):
            read_tables(tmp_path / "out")
        for column, value, said in (
            ("fields", "{", "row 3: not JSON"),
            ("split", "mine", "row 3: split: Input should"),
        ):
            bad = table.to_pylist()
            bad[2][column] = value
            pq.write_table(pa.Table.from_pylist(bad, table.schema), path)
            with pytest.raises(StoreError, match=said):
                read_tables(tmp_path / "out")
        path.write_bytes(whole[:-9])
        with pytest.raises(StoreError, match="is no parquet table"):
            read_tables(tmp_path / "out")
        path.unlink()
        path.symlink_to(tmp_path / "out" / "verdicts.parquet")
        with pytest.raises(StoreError, match=r"cannot read .*rollouts\.parquet"):
            read_tables(tmp_path / "out")
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(StoreError, match="not a regular file"):
            read_tables(tmp_path / "out")

    @staticmethod
    def _hostile(run: Path, out: Path, change: dict, times: int) -> Path:
        """A table of one row so many times."""
        export_tables(RunFolder(run), out)
        table = pq.read_table(out / "rollouts.parquet")
        row = table.to_pylist()[0] | change
        pq.write_table(pa.Table.from_pylist([row] * times, table.schema), out / "rollouts.parquet", compression="zstd")
        return out

    def test_a_small_file_that_unpacks_to_much_is_refused_before_it_is_unpacked(self, run, tmp_path, monkeypatch):
        out = self._hostile(run, tmp_path / "out", {"prompt_text": "a" * 3_000_000}, 1)
        assert (out / "rollouts.parquet").stat().st_size < 20_000
        monkeypatch.setattr(tables, "UNSUSPECTED_BYTES", 100_000)
        monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("it was unpacked"))
        with pytest.raises(StoreError, match="row group 0 unpacks to more than a run's tables do; do not use it"):
            read_tables(out)

    @pytest.mark.parametrize(
        ("change", "times", "said"),
        [
            ({"prompt_text": "a" * 20_000}, 100, "row 1 to 100: unpacks to more"),
            ({"prompt_ids": [5] * 60_000}, 1, "row group 0 unpacks to more"),
            ({}, 1001, "row group 0 unpacks to more"),
        ],
    )
    def test_what_is_said_once_and_meant_often_is_counted_as_often(
        self, run, tmp_path, monkeypatch, change, times, said
    ):
        out = self._hostile(run, tmp_path / "out", change, times)
        monkeypatch.setattr(tables, "UNSUSPECTED_BYTES", 300_000)
        monkeypatch.setattr(tables, "MAX_RATIO", 1)
        with pytest.raises(StoreError, match=said):
            read_tables(out)

    def test_long_rollouts_are_fewer_to_a_group(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(tables, "GROUP_BYTES", 1)
        export_tables(RunFolder(run), tmp_path / "out")
        assert pq.read_metadata(tmp_path / "out" / "rollouts.parquet").num_row_groups == N
        assert read_tables(tmp_path / "out").rollouts == rollouts()


class TestOutputs:
    def test_a_place_that_is_taken_or_inside_the_run_is_refused(self, run, tmp_path):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        for out, said in (
            (run / "arrays", "inside the run"),
            (tmp_path / "full", "is there already"),
            (tmp_path / "no" / "where", "there is no folder"),
        ):
            with pytest.raises((RunError, SpecError), match=said):
                check_out(out, run)
        assert (tmp_path / "full" / "mine").exists()

    def test_what_fails_in_the_middle_leaves_nothing(self, tmp_path):
        def failing():
            with new_place(tmp_path / "out", 0) as folder:
                folder.mkdir()
                (folder / "half").touch()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            failing()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("links", [True, False])
    def test_what_appears_meanwhile_is_not_written_over(self, tmp_path, monkeypatch, links):
        if not links:
            refused = OSError(errno.EPERM, "no hard links here")
            monkeypatch.setattr(outputs.os, "link", lambda *_: (_ for _ in ()).throw(refused))
        with new_place(tmp_path / "free.json", 0) as file:
            file.write_text("mine")
        assert (tmp_path / "free.json").read_text() == "mine"

        def exporting(name: str, write, meanwhile) -> None:
            with new_place(tmp_path / name, 0) as place:
                write(place)
                meanwhile(tmp_path / name)

        def theirs(folder: Path) -> None:
            folder.mkdir()
            (folder / "theirs").touch()

        for name, write, meanwhile in (
            ("a.json", lambda place: place.write_text("mine"), Path.touch),
            ("b.json", lambda place: place.write_text("mine"), Path.mkdir),
            ("folder", Path.mkdir, theirs),
        ):
            with pytest.raises(RunError, match="is there already, since the export began"):
                exporting(name, write, meanwhile)
        assert (tmp_path / "a.json").read_text() == ""
        assert [path.name for path in (tmp_path / "folder").iterdir()] == ["theirs"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json", "folder", "free.json"]

    def test_callers_from_python_are_checked_too(self, store, tmp_path):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        with pytest.raises(RunError, match="is there already"):
            export_arrays(store, tmp_path / "full")
        assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]

    def test_what_a_kill_left_is_removed_by_the_next_and_only_that(self, store, tmp_path):
        left = tmp_path / ".out.0123456789abcdef.tmp"
        left.mkdir()
        (left / "half.npy").touch()
        kept = [tmp_path / name for name in (".out.mine.tmp", ".out2.0123456789abcdef.tmp", "out.0123456789abcdef.tmp")]
        for path in kept:
            path.touch()
        export_arrays(store, tmp_path / "out")
        assert not left.exists() and all(path.exists() for path in kept)
        assert {path.name for path in tmp_path.iterdir()} == {"out", *(path.name for path in kept)}

    def test_one_export_to_a_place_at_a_time(self, store, tmp_path):
        with new_place(tmp_path / "out", 0) as folder:
            folder.mkdir()
            with pytest.raises(RunError, match="another process"):
                export_arrays(store, tmp_path / "out")
        assert (tmp_path / "out").is_dir() and list((tmp_path / "out").iterdir()) == []

    def test_everything_is_on_the_disk_before_it_has_its_name(self, store, tmp_path, monkeypatch):
        told, real = set(), outputs.sync
        monkeypatch.setattr(outputs, "sync", lambda path: (told.add(path.name), real(path)))
        monkeypatch.setattr(outputs, "_put", lambda *_: pytest.fail(str(sorted(told))))
        with pytest.raises(pytest.fail.Exception) as stopped:
            export_arrays(store, tmp_path / "out")
        assert all(name in str(stopped.value) for name in ("index.json", "mlp_out.2.npy", "token_id.npy", ".out."))

    def test_the_folder_one_is_in_is_not_taken_away(self, store, tmp_path, monkeypatch):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(SpecError, match="is the folder that you are in"):
            export_arrays(store, Path())
        export_arrays(store, Path("out"))
        assert (tmp_path / "here" / "out" / "index.json").is_file()

    def test_a_disk_without_room_is_known_before(self, tmp_path):
        with pytest.raises(RunError, match=r"may need 1000000000\.0 GB"), new_place(tmp_path / "out", 10**18):
            raise AssertionError("it was begun")


class TestInspect:
    def test_the_chain_is_apart_from_what_follows_it(self):
        made = {each.rollout: reasoning_and_text(each) for each in rollouts()}
        assert made[0] == ("step 0. ", "Answer: safe")
        assert made[4] == (None, "<think></think>Answer: safe")
        assert made[1][1] == "Answer: risky" and made[1][0] == HOSTILE.strip("\n")

    @pytest.mark.parametrize(
        ("text", "chain", "found"),
        [
            ("<think>\nSo.\n</think>\n\nAnswer: A</s>", "\nSo.\n", ("So.", "Answer: A")),
            ("So.</think>Answer: A<|im_end|>", "So.", ("So.", "Answer: A")),
            (
                "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>",
                "So.",
                ("So.", "A"),
            ),
            ("<|channel>thought\nSo.\n<channel|>A<turn|>", "So.\n", ("So.", "A")),
        ],
    )
    def test_delimiters_of_every_format_are_taken_off(self, text, chain, found):
        made = rollouts()[0].model_copy(update={"completion_text": text, "think_text": chain})
        assert reasoning_and_text(made) == found

    def test_samples_of_one_item_under_several_conditions_keep_apart(self):
        made = rollouts()[:2]
        same = [made[0], made[0].model_copy(update={"condition": "hinted"})]
        assert sample_ids(same) == ["g0-0/plain", "g0-0/hinted"]
        with pytest.raises(RunError, match="two rollouts are the same sample of g0-0"):
            sample_ids([made[0], made[0]])

    def test_without_inspect_ai_the_remedy_is_named(self, run, tmp_path, monkeypatch, invoke):
        monkeypatch.setitem(sys.modules, "inspect_ai", None)
        monkeypatch.delitem(sys.modules, "inspect_ai.log", raising=False)
        code, _, err = invoke(run, "--to", "inspect", "--out", tmp_path / "log.eval")
        assert (
            code == 2
            and "needs inspect-ai: get it with `pip install '.[inspect]'` in the folder of introspect's source" in err
        )
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", [".eval", ".json"])
    def test_a_log_gives_back_the_run_and_its_token_ids(self, run, tmp_path, suffix, invoke):
        pytest.importorskip("inspect_ai", reason="the inspect extra clashes with constraints.txt (fsspec, dateutil)")
        log = tmp_path / f"log{suffix}"
        code, out, _ = invoke(run, "--to", "inspect", "--out", log)
        assert (code, out) == (0, f"{log}: 9 samples\n")
        assert read_logged_rollouts(log) == rollouts()
        source = read_transcripts(log)
        assert (source.retokenised, source.left_out) == (0, {})
        save_tiny(tmp_path / "model")
        model = load_model(str(tmp_path / "model"), dtype="float32")
        again = as_rollouts(model, source)
        kept = [(each.prompt_ids, each.completion_ids, each.item_id, each.sample, each.group) for each in rollouts()]
        assert [(e.prompt_ids, e.completion_ids, e.item_id, e.sample, e.group) for e in again] == kept
        assert again[5].fields | rollouts()[5].fields == again[5].fields

    def test_a_recorded_run_goes_through_a_log_to_the_same_activations(self, tmp_path, invoke):
        pytest.importorskip("inspect_ai", reason="the inspect extra clashes with constraints.txt (fsspec, dateutil)")
        save_tiny(tmp_path / "model")
        lines = [{"prompt_ids": each.prompt_ids, "completion_ids": each.completion_ids} for each in rollouts()]
        (tmp_path / "given.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
        spec = read_replay_spec({"model": str(tmp_path / "model"), "spans": "prompt,completion"})
        record_transcripts(tmp_path / "given.jsonl", spec, tmp_path / "first")
        assert invoke(tmp_path / "first", "--to", "inspect", "--out", tmp_path / "log.eval")[0] == 0
        record_transcripts(tmp_path / "log.eval", spec, tmp_path / "second", exact=True)
        first, second = (StoreReader(tmp_path / name / "activations") for name in ("first", "second"))
        assert all(np.array_equal(second.columns()[name], column) for name, column in first.columns().items())
        for pair in first.spec.pairs():
            assert np.array_equal(second.read(*pair, native=True), first.read(*pair, native=True))

    def test_scores_and_messages_are_what_inspect_shows(self, run, tmp_path):
        pytest.importorskip("inspect_ai", reason="the inspect extra clashes with constraints.txt (fsspec, dateutil)")
        from inspect_ai.log import read_eval_log

        with pytest.raises(SystemExit):
            main(["export", str(run), "--to", "inspect", "--out", str(tmp_path / "log.eval")])
        log = read_eval_log(str(tmp_path / "log.eval"))
        sample = log.samples[5]
        assert (log.eval.task, log.eval.model, log.eval.dataset.samples) == ("probe-risk", "introspect/tiny", N)
        assert [block.type for block in sample.messages[1].content] == ["reasoning", "text"]
        assert sample.messages[1].content[0].reasoning == "step 5. "
        assert sample.scores["acted"].value is True and sample.scores["verdict_lexical"].value == "verbalised"
        assert sample.scores["readout"].value == 5 / 3 and sample.scores["readout"].metadata["readout"] == "policy"
        assert log.samples[8].scores["verdict_lexical"].value == "unusable"
        assert "acted" not in log.samples[7].scores


class TestTokenIdsOfLogs:
    """Without inspect-ai: the reader's side, on what such a log holds."""

    @pytest.fixture
    def logged(self, monkeypatch, tmp_path):
        samples: list[SimpleNamespace] = []
        reader = SimpleNamespace(read_eval_log=lambda *_, **__: SimpleNamespace(samples=samples))
        monkeypatch.setitem(sys.modules, "inspect_ai", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "inspect_ai.log", reader)
        path = tmp_path / "log.json"
        path.touch()

        def logging(said="4", **own):
            said = SimpleNamespace(role="assistant", content=said, tool_calls=None)
            asked = SimpleNamespace(role="user", content="2 + 2?")
            samples.append(
                SimpleNamespace(
                    id=f"s{len(samples)}", epoch=1, input="2 + 2?", messages=[asked, said], metadata=own, output=None
                )
            )
            return path

        return logging

    def test_ids_are_taken_as_they_are_and_text_where_there_are_none(self, logged):
        logged(level=2, introspect={"prompt_ids": [5, 6], "completion_ids": [7], "group": "g"})
        path = logged(introspect=True)
        source = read_transcripts(path)
        first, second = (transcript for _, transcript in source.transcripts)
        assert (first.prompt_ids, first.completion_ids, first.group, first.prompt) == ([5, 6], [7], "g", None)
        assert (second.prompt_ids, second.completion) == (None, "4") and source.retokenised == 1
        assert first.fields == {"level": 2}

    def test_text_is_refused_where_only_ids_will_do(self, logged, tmp_path):
        logged(introspect={"prompt_ids": [5, 6], "completion_ids": [7]})
        path = logged()
        save_tiny(tmp_path / "model")
        spec = read_replay_spec({"model": str(tmp_path / "model")})
        for call in (
            lambda: record_transcripts(path, spec, tmp_path / "run", exact=True),
            lambda: estimate_transcripts(path, spec, exact=True),
        ):
            with pytest.raises(SpecError, match=r"1 of 2 transcripts have no token ids, .*sample s1 of epoch 1 first"):
                call()
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        "own",
        [
            {"prompt_ids": [1]},
            {"prompt_ids": [1], "completion_ids": ["2"]},
            {"prompt_ids": [], "completion_ids": [2]},
            {"prompt_ids": {"a": 1}, "completion_ids": [2]},
        ],
    )
    def test_ids_that_are_none_are_refused_with_their_sample(self, logged, own):
        path = logged(introspect=own)
        with pytest.raises(SpecError, match="sample s0 of epoch 1"):
            read_transcripts(path)

    def test_a_log_without_token_ids_gives_no_rollouts_back(self, logged):
        path = logged()
        assert len(read_inspect_log(path).samples) == 1
        with pytest.raises(SpecError, match="sample s0 of epoch 1: it holds no token ids; give a log that"):
            read_logged_rollouts(path)

    def test_a_text_that_stands_for_more_than_a_message_is_left_out(self, logged, monkeypatch):
        monkeypatch.setattr(inspect_log, "MAX_MESSAGE", 1000)
        block = SimpleNamespace(type="text", text="a" * 101)
        logged()
        path = logged(said=[block] * 10)
        found = read_inspect_log(path)
        assert len(found.samples) == 1 and found.left_out == {"with a message of more than 1,000 characters": 1}
        assert len(read_inspect_log(logged(said=[block] * 9)).samples) == 2
        monkeypatch.setattr(inspect_log, "MAX_TEXTS", 1000)
        logged(said=[block] * 9)
        with pytest.raises(SpecError, match="comes to more than 1,000 characters; split the log"):
            read_inspect_log(path)

    @pytest.mark.parametrize(
        ("limit", "said"),
        [
            ("MAX_UNPACKED_BYTES", "unpacks to more than 50,000 bytes"),
            ("MAX_MEMBER_BYTES", r"'samples/1_epoch_1\.json' unpacks to more than 50,000 bytes"),
            ("UNSUSPECTED_BYTES", r"unpacks to more than [0-9]{3},[0-9]{3} bytes"),
        ],
    )
    def test_an_archive_that_unpacks_to_much_is_not_read(self, logged, monkeypatch, limit, said):
        path = logged().with_suffix(".eval")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("samples/1_epoch_1.json", b" " * 1_000_000)
        assert len(read_inspect_log(path).samples) == 1
        monkeypatch.setattr(inspect_log, limit, 50_000)
        with pytest.raises(SpecError, match=said):
            read_inspect_log(path)

    @pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    @pytest.mark.parametrize("said", [10, 99_999])
    def test_an_archive_that_says_a_wrong_size_is_not_read(self, logged, method, said):
        path = logged().with_suffix(".eval")
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("samples/1_epoch_1.json", b" " * 100_000)
        content = bytearray(path.read_bytes())
        at = content.index(b"PK\x01\x02") + 24
        assert int.from_bytes(content[at : at + 4], "little") == 100_000
        content[at : at + 4] = said.to_bytes(4, "little")
        path.write_bytes(content)
        with pytest.raises(SpecError, match=r"is not of the size that it says|cannot be read as an Inspect log"):
            read_inspect_log(path)


class TestCommand:
    def test_a_run_that_was_not_recorded_to_its_end_is_not_exported_unasked(self, tmp_path, invoke):
        run = small_run(tmp_path / "half")
        (run / "activations" / "DONE").unlink()
        for to in ("parquet", "numpy", "transformer-lens", "inspect"):
            code, _, err = invoke(run, "--to", to, "--out", tmp_path / "out.json")
            assert code == 2 and "--resume`, or add --unfinished" in err and err.count("\n") == 1
        assert not (tmp_path / "out.json").exists()
        code, out, _ = invoke(run, "--to", "parquet", "--out", tmp_path / "out", "--unfinished", "--json")
        assert code == 0 and json.loads(out)["finished"] is False
        assert invoke(run, "--to", "numpy", "--out", tmp_path / "n", "--unfinished")[1].endswith(
            "of an unfinished run\n"
        )

    def test_each_format_says_what_was_written(self, run, tmp_path, invoke):
        assert invoke(run, "--to", "parquet", "--out", tmp_path / "t")[1].startswith(f"{tmp_path / 't'}: 9 rollouts")
        code, out, _ = invoke(run, "--to", "numpy", "--out", tmp_path / "a", "--layers", "-1", "--json")
        assert code == 0 and json.loads(out)["written"]["sites and layers"] == 2
        assert sorted(path.name for path in (tmp_path / "a").glob("*.2.npy")) == ["mlp_out.2.npy", "resid_post.2.npy"]
        code, out, _ = invoke(run, "--to", "transformer-lens", "--out", tmp_path / "c", "--rollouts", "3,7")
        assert (code, out) == (0, f"{tmp_path / 'c'}: 2 rollouts\n")
        assert read_rollouts(run / "rollouts.jsonl") == rollouts()

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--to", "parquet", "--layers", "0"], "--layers does not go with --to parquet"),
            (["--to", "numpy", "--rollouts", "1"], "--rollouts does not go with --to numpy"),
            (["--to", "inspect", "--dtype", "float32"], "--dtype does not go with --to inspect"),
            (["--to", "transformer-lens", "--rollouts", "x"], "is no list of rollouts"),
            (["--to", "numpy", "--layers", "9"], "the model has layers 0 to 2"),
            (["--to", "inspect"], "ends in .eval or .json"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, run, tmp_path, invoke, options, said):
        code, _, err = invoke(run, *options, "--out", tmp_path / "out")
        assert code == 2 and said in err and err.count("\n") == 1
        assert not (tmp_path / "out").exists()
