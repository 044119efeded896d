"""Several places in a block probed jointly: one is chosen on inner folds, and shuffles are the largest over all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from introspect import probe_report
from introspect.analysis import Model, analyse
from introspect.cli import main
from introspect.errors import SpecError
from introspect.experiment import load_experiment
from introspect.link import read_readouts
from introspect.probes import shuffled_null
from introspect.progress import silent
from introspect.report.page import render
from introspect.results import validate_results
from introspect.rows import Rows, encode_rows
from introspect.stats import permutation_p
from introspect.store import StoreReader, StoreSpec, StoreWriter
from planted_runs import LAYERS, TOKENIZER, WIDTH, planted_run

BOTH = ("resid_post", "attn_out")
N = 30
QUICK = (
    *("organism=null", "negative_control=null", "probe.embedding=null", f"probe.permutations={N}"),
    *("probe.bootstrap=50", "probe.positions=[last_prompt, think_100]", f"capture.sites=[{', '.join(BOTH)}]"),
)


def spec(*more: str):
    return load_experiment("probe-risk", [*QUICK, *more])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run in which attn_out of layer 1 carries the choice, and resid_post is noise."""
    folder = tmp_path_factory.mktemp("run") / "two"
    made = planted_run(tmp_path_factory.mktemp("one"), inside=False, spoken=False)
    store = StoreSpec(BOTH, LAYERS, WIDTH, "float32", {"model": "made by hand"})
    generator, captured = torch.Generator().manual_seed(3), []
    positions = [list(range(len(row.prompt_ids) - 1, len(row.token_ids))) for row in made]
    for row, wanted in zip(made, positions, strict=True):
        values = {pair: torch.randn(len(wanted), WIDTH, generator=generator) for pair in store.pairs()}
        values["attn_out", 1][:, :5] += 1.2 * (bool(row.acted) - 0.5)
        captured.append(values)
    with StoreWriter(folder / "activations", store) as writer:
        writer.commit_part(0, encode_rows(store, made, [Rows(each, {}) for each in positions], captured, positions))
        writer.finish()
    return folder, made


def analysed(recorded, *more: str, noise=None):
    folder, made = recorded
    results = analyse(folder, spec(*more), made, Model(TOKENIZER, LAYERS, noise), progress=silent)
    validate_results(results)
    return results


@pytest.fixture(scope="module")
def alone(recorded):
    """Site -> results of a probe there, and its readouts."""
    return {site: (analysed(recorded, f"probe.site={site}"), read_readouts(recorded[0])) for site in BOTH}


@pytest.fixture(scope="module")
def jointly(recorded):
    """Results of both, where capture was looked at again, readouts, and the nulls."""
    asked, nulls = [], []

    def noise(rollouts, tokens, site, layer):
        asked.append((site, layer))
        return np.zeros((len(rollouts), WIDTH), np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_report, "shuffled_null", lambda *a, **k: nulls.append(shuffled_null(*a, **k)) or nulls[-1])
        found = analysed(recorded, f"probe.sites=[{', '.join(BOTH)}]", noise=noise)
    return found, asked, read_readouts(recorded[0]), [null.maxima() for null in nulls]


def test_the_site_that_reads_best_on_inner_folds_is_the_headlines(jointly, alone):
    found, asked, readouts, _ = jointly
    there, scored = alone["attn_out"]
    head = found["probe"]["headline"]
    assert (head["site"], head["layer"]) == ("attn_out", 1)
    assert head == there["probe"]["headline"]
    assert found["probe"]["grid"] == there["probe"]["grid"]
    assert found["link"] == there["link"] and found["examples"] == there["examples"]
    assert asked == [("attn_out", 1)]
    assert [row.headline for row in scored] == [row.headline for row in readouts]
    assert "the site that is named first" in found["probe"]["selection"]
    assert "sites" not in there["probe"] and "site" not in there["probe"]["selection"]


def test_every_site_is_in_the_results_as_it_is_alone(jointly, alone):
    found, (noise, _) = jointly[0], alone["resid_post"]
    rows = {row["site"]: row for row in found["probe"]["sites"]}
    assert list(rows) == list(BOTH)
    assert rows["attn_out"]["grid"] == found["probe"]["grid"]
    for name in ("layer", "position", "penalty", "auroc"):
        assert rows["resid_post"][name] == noise["probe"]["headline"][name]
        assert rows["attn_out"][name] == found["probe"]["headline"][name]
    without = [{key: each[key] for key in each if key != "null_q95"} for each in rows["resid_post"]["grid"]]
    assert without == [{key: each[key] for key in each if key != "null_q95"} for each in noise["probe"]["grid"]]
    assert rows["attn_out"]["auroc"]["value"] > 0.8 > rows["resid_post"]["auroc"]["value"]


def test_shuffled_labels_are_the_largest_over_all_sites(jointly):
    found, *_, (one, other) = jointly
    assert (one > other).any() and (other > one).any()
    shuffled = found["controls"]["shuffled_labels"]
    assert shuffled["statistic"] == "the largest test AUROC over all sites, positions and layers"
    assert shuffled["q95"] == round(float(np.quantile(np.maximum(one, other), 0.95)), 6)
    assert shuffled["q95"] > max(np.quantile(one, 0.95), np.quantile(other, 0.95)) - 1e-6
    assert shuffled["p_value"] == round(permutation_p(shuffled["observed"], np.maximum(one, other)), 6)
    assert found["controls"]["multiple_comparisons"]["n_places"] == 2 * 2 * len(LAYERS)
    assert found["controls"]["multiple_comparisons"]["above_largest_null"] == 2
    rows = found["probe"]["sites"]
    assert [row["null_max_q95"] for row in rows] == [round(float(np.quantile(each, 0.95)), 6) for each in (one, other)]


def test_of_sites_that_read_alike_the_first_that_is_named_is_taken(recorded, monkeypatch):
    plain = StoreReader.read
    monkeypatch.setattr(StoreReader, "read", lambda self, site, *a, **k: plain(self, "attn_out", *a, **k))
    found = analysed(recorded, f"probe.sites=[{', '.join(BOTH[::-1])}]")
    assert found["probe"]["headline"]["site"] == BOTH[1]
    assert found["probe"]["sites"][0]["auroc"] == found["probe"]["sites"][1]["auroc"]


def test_the_page_has_a_row_a_site_and_one_site_has_none(jointly, alone):
    page = render(jointly[0], None)
    table = page[page.index("<h3>Places in a block</h3>") :]
    table = table[: table.index("</table>")]
    assert [f"<td>{site.replace('_', ' ')}" in table for site in BOTH] == [True, True]
    assert table.count("(the headline's)") == 1 and 'attn out <span class="note">(the headline' in table
    assert "Places in a block" not in render(alone["attn_out"][0], None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["probe.sites=[mlp_out]"],
            "probe.sites is mlp_out, which is not captured: choose one of resid_post, attn_out",
        ),
        (["probe.sites=[attn_out, attn_out]"], "attn_out is named twice"),
        (["probe.sites=[]"], "at least 1 item"),
        (["probe.site=attn_out", "probe.sites=[resid_post]"], "site and sites both say what is read"),
    ],
)
def test_sites_that_cannot_be_probed_are_one_line(more, said):
    with pytest.raises(SpecError, match=said) as error:
        spec(*more)
    assert "\n" not in str(error.value)


def test_a_spec_without_sites_is_written_and_digested_as_before():
    assert "sites" not in json.loads(spec().model_dump_json())["probe"]
    assert spec().digest() == spec("probe.sites=null").digest() != spec("probe.sites=[resid_post]").digest()
    assert spec("probe.sites=[attn_out, resid_post]").probed_sites == ("attn_out", "resid_post")
    assert spec("probe.site=attn_out").probed_sites == ("attn_out",)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], []),
        (["--site", "attn_out"], ["probe.site=attn_out", "probe.sites=null"]),
        (["--site", "attn_out", "--site", "mlp_out"], ["probe.site=null", 'probe.sites=["attn_out", "mlp_out"]']),
    ],
)
def test_sites_are_asked_for_by_an_option_that_is_repeated(monkeypatch, capsys, options, asked):
    given = []
    monkeypatch.setattr("introspect.refit.fit_again", lambda run, overrides, *a, **k: given.append(overrides) or {})
    with pytest.raises(SystemExit) as stop:
        main(["probe", "fit", "runs/one", *options, "--json"])
    assert (stop.value.code, given) == (0, [asked])
    again = spec("capture.sites=[attn_out, mlp_out]", "probe.sites=[mlp_out]", *asked)
    assert again.probed_sites == {0: ("mlp_out",), 1: ("attn_out",), 2: (*BOTH[1:], "mlp_out")}[len(options) // 2]
