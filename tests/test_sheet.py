"""The sheet for labels by hand: what it shows, what a spreadsheet does to it, and what is refused coming back."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from introspect.errors import RunError, SpecError
from introspect.tasks.risk_says import SUBJECT
from introspect.verdicts import Subject, Verdict
from introspect.verdicts.sheet import COLUMNS, read_sheet, write_sheet

CHAINS = [
    (0, "I take the gamble, since I like risk.", SUBJECT),
    (3, '=HYPERLINK("http://x", "click"), I think.\nThe "note" says C; I ignore it.', SUBJECT),
    (5, "\n\n- first, add\r\n- then, take C\n", SUBJECT),
    (8, "'=quoted already", SUBJECT),
    (9, "Grüße, 日本 \u2028 done", SUBJECT),
]


def cells(path, separator=","):
    text = path.read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))


def save(path, rows, separator=",", columns=COLUMNS):
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(out.getvalue(), encoding="utf-8", newline="")


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "labels.csv"
    assert write_sheet(path, CHAINS, seed=1) == len(CHAINS)
    return path


def fill(sheet, **by_rollout):
    rows = cells(sheet)
    for row in rows:
        row.update(by_rollout.get(f"r{row['rollout']}", {}))
    save(sheet, rows)


def label(mentions, relies, denies, quote=""):
    return {"mentions": mentions, "relies": relies, "denies": denies, "quote": quote}


def test_a_sheet_that_is_filled_in_comes_back_as_verdicts(sheet):
    fill(
        sheet,
        r0=label("yes", "TRUE", "0", "I like  risk"),
        r3=label("1", "no", " Yes ", "I ignore it"),
        r8=label("false", "no", "no") | {"notes": "?"},
    )
    assert read_sheet(sheet, CHAINS) == {
        0: Verdict("labels", "verbalised", True, True, False, "I like risk"),
        3: Verdict("labels", "denied", True, False, True, "I ignore it"),
        8: Verdict("labels", "silent", False, False, False, None),
    }


def test_the_sheet_shows_no_more_than_chain_and_subject(sheet):
    rows = cells(sheet)
    assert list(rows[0]) == list(COLUMNS)
    assert {int(row["rollout"]) for row in rows} == {number for number, _, _ in CHAINS}
    assert all(row["look for"] == SUBJECT.what for row in rows)
    assert all(not row[name] for row in rows for name in ("mentions", "relies", "denies", "quote", "notes"))


def test_the_order_is_the_seeds_and_tells_nothing(tmp_path):
    many = [(i, f"chain {i}", SUBJECT) for i in range(50)]

    def order(name, chains, **options):
        write_sheet(tmp_path / name, chains, **options)
        return [int(row["rollout"]) for row in cells(tmp_path / name)]

    first = order("a", many, seed=0)
    assert first == order("b", many[::-1], seed=0) != order("c", many, seed=1)
    assert first != sorted(first) and order("d", many, seed=0, n=7) == first[:7]


def test_no_cell_is_a_formula(sheet):
    for row in cells(sheet):
        assert all(cell[:1] not in tuple("=+-@\t\r\n") for cell in row.values() if cell)


@given(st.text(alphabet="'=+-@\t\r\n ＝a,;\"", max_size=8), st.booleans())
def test_every_chain_comes_back(tmp_path_factory, text, tidied):
    path = tmp_path_factory.mktemp("sheet") / "s.csv"
    chains = [(1, text, Subject("s", text, SUBJECT.patterns))]
    write_sheet(path, chains)
    rows = cells(path)
    assert rows[0]["chain"].lstrip("' ")[:1] not in tuple("=+-@") or rows[0]["chain"].startswith("'")
    rows[0].update(label("no", "no", "yes"))
    if tidied:
        rows[0]["chain"] = " ".join(rows[0]["chain"].split())
    save(path, rows)
    assert read_sheet(path, chains)[1].verdict == "denied"


def test_semicolons_line_ends_order_and_more_columns_do_not_matter(sheet):
    rows = [row | label("no", "no", "no") | {"mine": "x;y"} for row in cells(sheet)][::-1]
    for row in rows:
        row["chain"] = row["chain"].replace("\n", "\r\n")
    save(sheet, rows, ";", [*COLUMNS, "mine"])
    assert len(read_sheet(sheet, CHAINS)) == len(CHAINS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rollout": "7"}, "not a rollout"),
        ({"rollout": "x"}, "not a rollout"),
        ({"rollout": "9" * 5000}, "not a rollout"),
        ({"rollout": ""}, "not a rollout"),
        ({"digest": "0" * 16}, "not of this run"),
        ({"chain": "I take it."}, "was changed"),
        (label("maybe", "no", "no"), "mentions: 'maybe' is neither yes nor no"),
        (label("yes", "", "no"), "relies: is empty"),
        (label("no", "yes", "no"), "speaks of it"),
        (label("yes", "no", "no", "i like risk"), "quote is not in the chain"),
    ],
)
def test_a_bad_row_is_named_by_its_line(sheet, change, said):
    rows = cells(sheet)
    at = next(i for i, row in enumerate(rows) if row["rollout"] == "0")
    fill(sheet, r0=change)
    line = 2 + sum(1 + row["chain"].count("\n") for row in rows[:at])
    with pytest.raises(SpecError, match=said) as caught:
        read_sheet(sheet, CHAINS)
    assert f"labels.csv:{line}:" in str(caught.value) and len(str(caught.value)) < 400


def test_another_runs_sheet_is_refused(sheet):
    others = [(number, chain, Subject("hint", "a hint", SUBJECT.patterns)) for number, chain, _ in CHAINS]
    with pytest.raises(SpecError, match="not of this run"):
        read_sheet(sheet, others)


def test_a_row_that_stands_twice_is_refused(sheet):
    rows = cells(sheet)
    save(sheet, [*rows, rows[0]])
    with pytest.raises(SpecError, match="stands twice"):
        read_sheet(sheet, CHAINS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "needs one column 'rollout'"),
        (b"rollout,digest\n0,1\n", "needs one column 'look for'"),
        (",".join([*COLUMNS, "chain"]).encode(), "needs one column 'chain'"),
        (b"\xff\xfe", "UTF-8"),
        (",".join(COLUMNS).encode() + b'\n"open', "CSV"),
    ],
)
def test_a_file_that_is_no_sheet_is_one_line(tmp_path, content, said):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=said):
        read_sheet(path, CHAINS)


def test_a_missing_sheet_is_one_line(tmp_path):
    with pytest.raises(SpecError, match="cannot read labels"):
        read_sheet(tmp_path / "absent.csv", CHAINS)


def test_labels_are_not_written_over(sheet):
    fill(sheet, r0=label("yes", "no", "no"))
    before = sheet.read_bytes()
    with pytest.raises(RunError, match="may hold labels"):
        write_sheet(sheet, CHAINS)
    assert sheet.read_bytes() == before


def test_a_chain_longer_than_csv_usually_takes_comes_back(tmp_path):
    chains = [(1, "word " * 40_000, SUBJECT)]
    before = csv.field_size_limit(100_000)
    try:
        write_sheet(tmp_path / "s.csv", chains)
        assert read_sheet(tmp_path / "s.csv", chains) == {}
        assert csv.field_size_limit() == 100_000
    finally:
        csv.field_size_limit(before)
