"""Multiple-choice questions: layout, the shipped file, training questions, and files and sets of others."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from introspect.assets import data_path
from introspect.cli import main
from introspect.errors import SpecError
from introspect.tasks import choice_hub
from introspect.tasks.answers import find_answer
from introspect.tasks.choice import (
    LETTERS,
    compose,
    make_question,
    merge_duplicates,
    normalised,
    parts,
    right_letter,
    stem_group,
)
from introspect.tasks.choice_files import read_questions
from introspect.tasks.choice_hub import DATASETS, load_hub
from introspect.tasks.choice_training import AMBIGUOUS, TEMPLATES, training_questions
from introspect.tasks.item import Item, items_text, read_items
from introspect.tasks.risk_words import HELD_OUT, OOD

ITEMS = read_items(data_path("questions.jsonl"))
TRAINING = training_questions(n=3000)
IN = ("biology", "physics", "chemistry", "geography", "history", "arithmetic", "language")
OUT = ("astronomy", "everyday-objects", "law-and-society")


def question(stem="Which?", right="yes", wrong=("no", "maybe", "never"), **more):
    return make_question(**{"item_id": "q", "stem": stem, "right": right, "wrong": wrong, "subject": "s", **more})


def options_of(item):
    return parts(item).options


class TestLayout:
    def test_is_the_one_that_hints_are_worked_into(self):
        item = question("What is it?", "a tree", ["a dog", "a cat", "a hat"], letter="C", level=2)
        assert item.prompt == (
            "What is it?\nA) a dog\nB) a cat\nC) a tree\nD) a hat\nThink first, then write Answer: A, B, C or D."
        )
        assert item.options == {"A": "wrong", "B": "wrong", "C": "right", "D": "wrong"}
        assert item.fields == {"subject": "s", "level": 2, "correct": "C"}

    @pytest.mark.parametrize(("n", "last"), [(2, "Answer: A or B."), (3, "Answer: A, B or C."), (26, "Y or Z.")])
    def test_takes_two_to_twenty_six_options(self, n, last):
        item = question(wrong=[str(i) for i in range(n - 1)])
        assert len(item.options) == n and item.prompt.endswith(last)
        assert list(options_of(item)) == list(LETTERS[:n])

    @given(
        st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=4),
        st.lists(
            st.text(min_size=1).filter(str.strip), min_size=2, max_size=26, unique_by=lambda t: " ".join(t.split())
        ),
    )
    @settings(max_examples=60, deadline=None)
    def test_taken_apart_is_what_it_was_made_of(self, lines, texts):
        item = question("\n".join(lines), texts[0], texts[1:], letter="B")
        taken = parts(item)
        assert sorted(taken.options.values()) == sorted(" ".join(text.split()) for text in texts)
        assert taken.options["B"] == " ".join(texts[0].split()) and right_letter(item) == "B"
        assert compose(taken.stem, taken.options) == item.prompt

    def test_a_stem_that_looks_like_options_comes_back_whole(self):
        item = question("Which is true?\nA) first\nB) second\nAnswer below.", "both", ["none", "A", "B"])
        assert parts(item).stem.endswith("B) second\nAnswer below.")

    @pytest.mark.parametrize(
        ("stem", "options", "said"),
        [
            (" ", {"A": "x", "B": "y"}, "no text"),
            ("What?", {"A": "x"}, "2 to 26"),
            ("What?", {"A": "x", "C": "y"}, "in order"),
            ("What?", {"B": "x", "A": "y"}, "in order"),
            ("What?", {"A": "x", "B": " "}, "option B is empty"),
            ("What?", {"A": "x", "B": "y\nz"}, "option B has several lines"),
        ],
    )
    def test_refuses_what_it_could_not_take_apart(self, stem, options, said):
        with pytest.raises(SpecError, match=said):
            compose(stem, options)

    @pytest.mark.parametrize(
        "prompt",
        [
            "Which?\nA) x\nB) y",
            "A) x\nB) y\nAnswer.",
            "Which?\nB) x\nA) y\nAnswer.",
            "Which?\nA) x\nAnswer.",
            "Which?\nA) x\nB) \nAnswer.",
            "Which?\nA) x\nB) y\n ",
            " \nA) x\nB) y\nAnswer.",
        ],
    )
    def test_an_item_of_another_layout_is_named(self, prompt):
        item = Item(
            item_id="odd",
            group="g",
            split="id",
            domain="d",
            prompt=prompt,
            options={"A": "right", "B": "wrong"},
            fields={},
        )
        with pytest.raises(SpecError, match="item odd"):
            parts(item)

    def test_options_with_other_names_are_no_question(self):
        risk = read_items(data_path("risk.jsonl"))[0]
        with pytest.raises(SpecError, match=risk.item_id):
            parts(risk)

    @pytest.mark.parametrize("meanings", [("wrong", "wrong"), ("right", "right")])
    def test_one_option_is_right(self, meanings):
        item = question().model_copy(update={"options": dict(zip("AB", meanings, strict=True))})
        with pytest.raises(SpecError, match="exactly one"):
            right_letter(item)

    def test_two_equal_options_are_refused(self):
        with pytest.raises(SpecError, match="two options are 'a b'"):
            question(right="a b", wrong=["a  b", "c"])

    def test_a_letter_beyond_the_options_is_refused(self):
        with pytest.raises(SpecError, match="no option has the letter 'E'"):
            question(letter="E")


class TestStems:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Is it a “well-known” fact?", "is it  a well known\nfact"),
            ("What is 3 - 4?", "what is 3-4"),
            ("It's here: which?", "Its here, which!"),
            ("CAFÉ", "café"),
            ("Fill in: a ___ .", "fill in a ____"),
        ],
    )
    def test_differ_in_case_punctuation_and_spacing_only(self, one, other):
        assert normalised(one) == normalised(other)
        assert stem_group(one) == stem_group(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("What is 3 - 4?", "What is 3 + 4?"),
            ("What is 3.5?", "What is 35?"),
            ("(3 + 4) * 2", "3 + (4 * 2)"),
            ("What is 5%?", "What is 5?"),
            ("Is -3 small?", "Is 3 small?"),
            ("???", "!"),
        ],
    )
    def test_signs_of_arithmetic_make_another_question(self, one, other):
        assert normalised(one) != normalised(other)

    def test_duplicates_are_merged_into_the_first(self):
        first, again, other = question("Who is it?"), question("who IS it", "x"), question("Who was it?")
        assert first.group == again.group != other.group
        assert merge_duplicates([first, again, other, again]) == ([first, other], 2)


class TestShippedQuestions:
    def test_there_are_enough_of_every_subject_and_level(self):
        counts = Counter((item.split, item.domain, item.fields["level"]) for item in ITEMS)
        expected = [("id", subject) for subject in IN] + [("ood", subject) for subject in OUT]
        assert counts == {(*where, level): 14 for where in expected for level in (1, 2, 3)}

    def test_letters_are_balanced(self):
        for where in {(item.domain, item.fields["level"]) for item in ITEMS}:
            of_cell = [item.fields["correct"] for item in ITEMS if (item.domain, item.fields["level"]) == where]
            counts = [of_cell.count(letter) for letter in "ABCD"]
            assert max(counts) - min(counts) <= 1, where
        assert Counter(item.fields["correct"] for item in ITEMS) == dict.fromkeys("ABCD", 105)

    def test_every_item_is_laid_out_as_a_question_with_four_different_options(self):
        for item in ITEMS:
            taken = parts(item)
            assert compose(taken.stem, taken.options) == item.prompt
            assert len({text.casefold() for text in taken.options.values()}) == 4
            assert item.fields == {"subject": item.domain, "level": item.fields["level"], "correct": right_letter(item)}
            assert item.group == stem_group(taken.stem)

    def test_nothing_is_there_twice(self):
        assert merge_duplicates(ITEMS) == (ITEMS, 0)

    def test_the_right_option_is_not_told_by_its_length(self):
        """A guesser who picks the longest option, or the shortest, is right hardly more often than one who draws."""
        hits = {max: 0.0, min: 0.0}
        for item in ITEMS:
            lengths = {letter: len(text) for letter, text in options_of(item).items()}
            for pick in hits:
                picked = [letter for letter, length in lengths.items() if length == pick(lengths.values())]
                hits[pick] += (right_letter(item) in picked) / len(picked)
        assert all(0.15 < n / len(ITEMS) < 0.32 for n in hits.values()), hits
        alone = [sorted(map(len, options_of(item).values()))[-2:] for item in ITEMS]
        right = [len(options_of(item)[right_letter(item)]) for item in ITEMS]
        assert sum(n == most > second for n, (second, most) in zip(right, alone, strict=True)) < 0.4 * len(ITEMS)

    def test_the_sums_are_right(self):
        """Those whose stem is nothing but a product, a square or a difference."""
        stems = {parts(item).stem: options_of(item)[right_letter(item)] for item in ITEMS}
        sums = {
            "What is 7 times 8?": 56, "What is 17 × 23?": 17 * 23, "What is 13 squared?": 13**2,
            "What is 100 minus 37?": 63, "What is 5 + 3 × 4?": 17, "What is 2 to the power of 10?": 2**10,
            "What is the sum of the whole numbers from 1 to 50?": sum(range(51)),
            "What is the positive square root of 1764?": 42, "Which number is written 11010 in base two?": 0b11010,
            "What is the last digit of 7 to the power of 5?": 7**5 % 10, "What is 15% of 15% of 2000?": 45,
        }  # fmt: skip
        assert {stem: int(stems[stem]) for stem in sums} == sums


class TestTrainingQuestions:
    def test_no_stem_is_one_of_the_evaluation(self):
        evaluation = {normalised(parts(item).stem) for item in ITEMS}
        assert not evaluation & {normalised(parts(item).stem) for item in TRAINING}

    def test_there_are_thousands_of_ten_kinds_and_more_in_several_wordings(self):
        assert len({(parts(i).stem, *sorted(options_of(i).values())) for i in TRAINING}) == 3000
        assert len(TEMPLATES) >= 10 and all(len(wordings) >= 3 for _, wordings in TEMPLATES.values())
        assert len({parts(item).stem for item in TRAINING}) > 1500

    def test_have_the_layout_and_four_options(self):
        for item in TRAINING:
            taken = parts(item)
            assert compose(taken.stem, taken.options) == item.prompt and len(taken.options) == 4
            assert find_answer(f"Answer: {right_letter(item)}", item.options)[0] == right_letter(item)

    def test_letters_are_balanced_in_every_template(self):
        assert {item.domain for item in TRAINING} == {f"training-{name}" for name in TEMPLATES}
        for name in TEMPLATES:
            counts = Counter(right_letter(item) for item in TRAINING if item.domain == f"training-{name}")
            assert max(counts.values()) - min(counts[letter] for letter in "ABCD") <= 1

    def test_the_seed_decides_and_more_of_them_begin_with_the_same(self):
        assert training_questions(n=200) == TRAINING[:200]
        assert training_questions(n=50, seed=1) != TRAINING[:50]

    def test_the_right_option_is_right(self):
        for item in TRAINING:
            stem, options = parts(item).stem, options_of(item)
            right, wrong = options[right_letter(item)], [t for k, t in options.items() if k != right_letter(item)]
            match item.domain.removeprefix("training-"):
                case "largest":
                    assert all(int(right) > int(text) for text in wrong)
                case "smallest":
                    assert all(int(right) < int(text) for text in wrong)
                case "longest":
                    assert all(len(right) > len(text) for text in wrong)
                case "count":
                    assert max(Counter(normalised(stem).split()).values()) == int(right)
                case "sum" if "+" in stem:
                    a, b = stem.removesuffix(" = ?").split(" + ")
                    assert int(a) + int(b) == int(right)
                case "difference" if stem.startswith("Take"):
                    b, a = stem.removeprefix("Take ").removesuffix(".").split(" from ")
                    assert int(a) - int(b) == int(right)
                case "first_letter":
                    assert all(text[0] != right[0] for text in wrong)

    def test_no_noun_of_the_risk_evaluation_and_none_that_is_animal_and_machine(self):
        nouns = {
            text
            for i in TRAINING
            if i.domain in ("training-animal", "training-machine")
            for text in options_of(i).values()
        }
        kept_out = {noun for pool in (HELD_OUT, OOD) for nouns in pool.values() for noun in nouns}
        assert not nouns & kept_out and not nouns & set(AMBIGUOUS)

    def test_asking_for_more_than_there_are_says_how_many_there_are(self, monkeypatch):
        monkeypatch.setattr("introspect.tasks.choice_training.TEMPLATES", {"day_after": TEMPLATES["day_after"]})
        with pytest.raises(ValueError, match=r"there are \d+ training questions, and 5000"):
            training_questions(n=5000)


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestFiles:
    def test_csv_with_everything(self, tmp_path):
        text = (
            "id,Question,A,B,C,answer,subject,level,split,source\n"
            'one,"Which, then?",x,y,z,b,sums,3,ood,web\n'
            ',"Two\nlines?",p,q,r,r,,,,\n'
        )
        items, notes = read_questions(write(tmp_path, "mine.csv", text))
        assert notes == ["columns passed over: source"]
        assert [parts(item).stem for item in items] == ["Which, then?", "Two\nlines?"]
        assert [right_letter(item) for item in items] == ["B", "C"]
        assert (items[0].item_id, items[0].split, items[0].domain) == ("one", "ood", "sums")
        assert items[0].fields == {"subject": "sums", "level": 3, "correct": "B"}
        assert (items[1].item_id, items[1].split, items[1].fields) == (
            *("mine-0003", "id"),
            {"subject": "questions", "correct": "C"},
        )
        assert list(options_of(items[0]).values()) == ["x", "y", "z"]

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_csv_as_spreadsheets_write_it(self, tmp_path, delimiter):
        rows = [["question", "A", "B", "answer"], ["Is 1,5 more than 1?", "yes", "no", "A"]]
        text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows) + "\r\n"
        items, _ = read_questions(write(tmp_path, "m.csv", text))
        assert (parts(items[0]).stem, right_letter(items[0])) == ("Is 1,5 more than 1?", "A")

    def test_two_and_six_options_are_kept(self, tmp_path):
        lines = [{"question": "Two?", "options": ["a1", "b1"], "answer": "B"}]
        lines.append({"question": "Six?", "choices": {k: k * 2 for k in "FEDCBA"}, "answer": "FF", "level": 1})
        lines.append({"question": "Numbers?", "options": [1, 2.5, 3], "answer": 2.5})
        text = "\n".join(json.dumps(line) for line in lines)
        items, _ = read_questions(write(tmp_path, "m.jsonl", text))
        assert [len(item.options) for item in items] == [2, 6, 3]
        assert [right_letter(item) for item in items] == ["B", "F", "B"]

    def test_our_own_items_come_back_as_they_are(self, tmp_path):
        path = write(tmp_path, "m.jsonl", items_text(ITEMS[:5]))
        assert read_questions(path) == (ITEMS[:5], [])

    def test_duplicates_are_merged_and_said(self, tmp_path):
        text = "question,A,B,answer\nIs it so?,y,n,A\nis it  so,n,y,B\nAnother?,y,n,A\n"
        items, notes = read_questions(write(tmp_path, "m.csv", text))
        assert len(items) == 2
        assert notes == ["1 of 3 questions repeat an earlier one and were merged with it"]

    @pytest.mark.parametrize("answer", ["B", "b", "B)", "(b)", "B.", "no"])
    def test_the_answer_is_a_letter_or_a_text(self, tmp_path, answer):
        items, _ = read_questions(write(tmp_path, "m.csv", f"question,A,B,answer\nQ?,yes,no,{answer}\n"))
        assert right_letter(items[0]) == "B"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "m.csv:1: needs the columns"),
            ("question,A,B\n", "m.csv:1: needs the columns"),
            ("question,A,C,answer\n", "m.csv:1: .* without gaps"),
            ("question,A,answer\n", "m.csv:1: needs the columns"),
            ("question,A,a,B,answer\n", "m.csv:1: column 'a' is there twice"),
            ("question,A,B,answer\n", "holds no questions"),
            ("question,A,B,answer\nQ?,x,y,A\nR?,x,,A\n", "m.csv:3: option B is empty"),
            ("question,A,B,answer\nQ?,x,y,C\n", "m.csv:2: answer 'C' is none of the options"),
            ("question,A,B,answer\nQ?,x,y,\n", "m.csv:2: no answer"),
            ("question,A,B,answer\n ,x,y,A\n", "m.csv:2: no question"),
            (
                "question,A,B,answer\nQ?,B,A,A\n",
                "m.csv:2: answer 'A' is the letter of one option and the text of another",
            ),
            ("question,A,B,answer\nQ?,x,x,A\n", "m.csv:2: .*two options"),
            ("question,A,B,answer\nQ?,x,y\n", "m.csv:2: the row has 3 cells"),
            ('question,A,B,answer\n"Q?,x,y,A\n', "m.csv:2: not CSV"),
            ("question,A,B,answer,level\nQ?,x,y,A,hard\n", "m.csv:2: level 'hard'"),
            ("question,A,B,answer,split\nQ?,x,y,A,test\n", "m.csv:2: split 'test'"),
            ("question,A,B,answer,id\nQ?,x,y,A,1\nR?,x,y,A,1\n", "m.csv:3: id '1' is that of line 2"),
            ('question,A,B,answer\n"Q\n?",x,y,A\nR?,x,y,Z\n', "m.csv:4: answer 'Z'"),
            (b"question,A,B,answer\nQ?,x,y,A\nR?,\xe9,y,A\n", "m.csv:3: not UTF-8"),
            ("question,A,B,answer\n" + "x" * 200_000 + ",x,y,A\n", "m.csv:2: not CSV"),
        ],
    )
    def test_faults_of_csv_are_named_with_their_line(self, tmp_path, text, said):
        with pytest.raises(SpecError, match=said):
            read_questions(write(tmp_path, "m.csv", text))

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("{", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ("[1]", "not an object"),
            ('{"question": "Q?", "answer": "A"}', "options are missing"),
            ('{"question": "Q?", "options": ["x"], "answer": "A"}', "options are missing"),
            ('{"question": "Q?", "options": {"A": "x", "C": "y"}, "answer": "A"}', "lettered A, C"),
            ('{"question": "Q?", "options": ["x", null], "answer": "A"}', "option B is empty"),
            ('{"question": "Q?", "options": ["x", ["y"]], "answer": "A"}', "text of an option"),
            ('{"question": "Q?", "options": ["x", "y"], "answer": 1}', "answer '1' is none"),
            ('{"question": 7, "options": ["x", "y"], "answer": true}', "no answer"),
            ('{"prompt": "Q?"}', "item_id"),
            (items_text(ITEMS[:1]).replace("B) ", "B. "), "no line 'B\\)'"),
            (items_text(ITEMS[:1]).replace('"right"', '"wrong"'), "exactly one"),
        ],
    )
    def test_faults_of_jsonl_are_named_with_their_line(self, tmp_path, line, said):
        good = '{"question": "First?", "options": ["x", "y"], "answer": "x"}\n'
        with pytest.raises(SpecError, match=rf"m\.jsonl:2: .*{said}"):
            read_questions(write(tmp_path, "m.jsonl", good + line))

    @pytest.mark.parametrize(("name", "said"), [("absent.csv", "cannot read"), ("x.xlsx", "ends in .csv")])
    def test_files_that_are_none(self, tmp_path, name, said):
        with pytest.raises(SpecError, match=said):
            read_questions(tmp_path / name)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, so that nothing of an earlier call is found."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def parquet(folder, config, split, rows):
    """A dataset's repository: a card that names its config, and a parquet file."""
    import pyarrow
    import pyarrow.parquet

    place = folder / (config or "data")
    place.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), place / f"{split}-00000-of-00001.parquet")
    files = f"  data_files:\n  - split: {split}\n    path: {place.name}/{split}-*\n"
    card = f"configs:\n- config_name: {config or 'default'}\n{files}"
    (folder / "README.md").write_text(f"---\n{card}---\n")
    return folder


def keyed(number, key="B", labels="ABCD"):
    texts = [f"text {number}{label}" for label in labels]
    return {
        "id": f"row{number}",
        "question": f"Question number {number}?",
        "choices": {"label": list(labels), "text": texts},
        "answerKey": key,
    }


def mmlu_row(number):
    return {
        "question": f"Question number {number}?",
        "subject": f"field_{number // 10}",
        "choices": [f"{number} {i}" for i in range(4)],
        "answer": number % 4,
    }


GPQA_ROW = {
    "Question": "Why?\nExplain.", "Correct Answer": "since\n", "Incorrect Answer 1": "as", "Incorrect Answer 2": "for",
    "Incorrect Answer 3": "to", "High-level domain": "Physics", "Record ID": "rec1", "Subdomain": "Optics",
}  # fmt: skip

ROWS = {
    "mmlu": [mmlu_row(i) for i in range(30)],
    "gpqa": [GPQA_ROW],
    "gpqa-diamond": [GPQA_ROW],
    "arc-easy": [keyed(1), keyed(2, "3", "1234"), keyed(3, "E", "ABCDE")],
    "arc-challenge": [keyed(1, "A", "ABC")],
    "commonsense-qa": [{**keyed(1, "D", "ABCDE"), "question_concept": "x"}],
}


def local(tmp_path, name, rows=None):
    wanted = DATASETS[name]
    return parquet(tmp_path / name, wanted.config, wanted.split, ROWS[name] if rows is None else rows)


@pytest.mark.usefixtures("cache")
class TestPublishedSets:
    @pytest.mark.parametrize("name", DATASETS)
    def test_every_set_is_read_in_its_own_columns(self, tmp_path, name):
        items, notes = load_hub(name, source=local(tmp_path, name))
        assert len(items) == len(ROWS[name]) and len(notes) == 1
        for item in items:
            taken = parts(item)
            assert compose(taken.stem, taken.options) == item.prompt
            assert item.item_id.startswith(f"{name}-{DATASETS[name].split}-") and item.split == "id"

    def test_the_right_option_is_found_in_every_layout(self, tmp_path):
        mmlu, _ = load_hub("mmlu", source=local(tmp_path, "mmlu"))
        assert [right_letter(item) for item in mmlu[:5]] == list("ABCDA")
        assert (mmlu[0].domain, "level" in mmlu[0].fields) == ("field_0", False)
        arc, _ = load_hub("arc-easy", source=local(tmp_path, "arc-easy"))
        assert [(right_letter(i), len(i.options), i.fields["level"]) for i in arc] == [
            ("B", 4, 1),
            ("C", 4, 1),
            ("E", 5, 1),
        ]
        assert options_of(arc[1])["C"] == "text 23" and arc[1].fields["source_id"] == "row2"
        gpqa, _ = load_hub("gpqa", source=local(tmp_path, "gpqa"))
        assert options_of(gpqa[0])[right_letter(gpqa[0])] == "since"
        assert parts(gpqa[0]).stem == "Why?\nExplain."

    def test_a_limit_is_spread_over_the_subjects(self, tmp_path):
        items, _ = load_hub("mmlu", source=local(tmp_path, "mmlu"), limit=3)
        assert [item.domain for item in items] == ["field_0", "field_1", "field_2"]

    def test_what_is_left_out_and_merged_is_counted(self, tmp_path):
        rows = [keyed(1), keyed(1), keyed(2, ""), keyed(3, "F"), keyed(4, "A", "A"), keyed(5)]
        items, notes = load_hub("arc-easy", source=local(tmp_path, "arc-easy", rows))
        assert [parts(item).stem for item in items] == ["Question number 1?", "Question number 5?"]
        assert notes[1].startswith("3 of 6 rows were left out; the first: row 2: it has no answer")
        assert notes[2].startswith("1 of 3 questions repeat")

    def test_a_split_without_answers_is_no_set_of_questions(self, tmp_path):
        folder = local(tmp_path, "commonsense-qa", [keyed(1, "")])
        with pytest.raises(SpecError, match="holds no question that can be used"):
            load_hub("commonsense-qa", source=folder)

    def test_another_layout_is_named(self, tmp_path):
        rows = [{"question": "Q?", "options": ["x"]}]
        with pytest.raises(SpecError, match=r"has no column 'subject' \(it has question, options\)"):
            load_hub("mmlu", source=local(tmp_path, "mmlu", rows))

    def test_an_unknown_split_and_an_unknown_set_are_named(self, tmp_path):
        with pytest.raises(SpecError, match="cannot load split 'dev' of cais/mmlu"):
            load_hub("mmlu", split="dev", source=local(tmp_path, "mmlu"))
        with pytest.raises(SpecError, match="no dataset called 'mmul': choose one of mmlu"):
            load_hub("mmul")
        with pytest.raises(SpecError, match="no dataset at"):
            load_hub("mmlu", source=tmp_path / "absent")

    def test_a_folder_with_code_is_not_run(self, tmp_path):
        folder, ran = tmp_path / "mmlu", tmp_path / "ran"
        folder.mkdir()
        (folder / "mmlu.py").write_text(f"open({str(ran)!r}, 'w')\n")
        with pytest.raises(SpecError, match="cannot load"):
            load_hub("mmlu", source=folder)
        assert not ran.exists()

    def test_offline_asks_no_hub_and_leaves_the_libraries_as_they_were(self, monkeypatch):
        import datasets
        from huggingface_hub import HfApi, constants

        monkeypatch.setattr(HfApi, "dataset_info", lambda *a, **k: pytest.fail("asked the hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        with pytest.raises(SpecError, match=r"cannot load split 'test' of cais/mmlu .*load it once with a network"):
            load_hub("mmlu", offline=True)
        assert not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            ("GatedRepoError", "is gated: accept its terms"),
            ("RepositoryNotFoundError", "there is no dataset Idavidrein/gpqa"),
            ("RevisionNotFoundError", "has no revision 'v9'"),
            ("OfflineModeIsEnabled", "the hub cannot be reached"),
        ],
    )
    def test_what_the_hub_refuses_is_said_in_one_line(self, monkeypatch, error, said):
        from huggingface_hub import HfApi, errors

        kind = getattr(errors, error)
        raised = kind.__new__(kind)  # some of them want a response

        def refuse(*args, **kwargs):
            raise raised

        monkeypatch.setattr(HfApi, "dataset_info", refuse)
        with pytest.raises(SpecError, match=said):
            load_hub("gpqa", revision="v9")

    def test_the_commit_that_was_asked_for_is_the_one_that_is_loaded(self, tmp_path, monkeypatch):
        import datasets
        from huggingface_hub import HfApi

        asked = []
        rows = datasets.load_dataset(str(local(tmp_path, "mmlu")), "all", split="test")
        rows.info.download_checksums = {f"hf://datasets/cais/mmlu@{'b' * 40}/all/test.parquet": {}}

        def load(path, config, *, split, revision):
            asked.append((path, config, split, revision))
            return rows

        monkeypatch.setattr(datasets, "load_dataset", load)
        monkeypatch.setattr(HfApi, "dataset_info", lambda *a, revision, **k: SimpleNamespace(sha=revision[0] * 40))
        items, notes = load_hub("mmlu", revision="branch")
        assert (len(items), asked) == (30, [("cais/mmlu", "all", "test", "b" * 40)])
        assert notes == [f"mmlu from cais/mmlu at commit {'b' * 40}"]
        with pytest.raises(SpecError, match=f"is commit {'b' * 40}, not {'c' * 40}"):
            load_hub("mmlu", revision="change")
        with pytest.raises(SpecError, match=f"is commit {'b' * 40}, not main"):
            load_hub("mmlu", revision="main", offline=True)
        assert load_hub("mmlu", offline=True)[1] == notes

    def test_a_gated_file_is_said_to_be_gated(self, monkeypatch):
        import datasets

        def gated(*args, **kwargs):
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub.")

        monkeypatch.setattr(datasets, "load_dataset", gated)
        monkeypatch.setattr(choice_hub, "_commit_of", lambda repo, revision: "a" * 40)
        with pytest.raises(SpecError, match=r"is gated: accept its terms at .*Idavidrein/gpqa"):
            load_hub("gpqa")


@pytest.fixture
def invoke(capsys):
    def run(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        return stop.value.code, *capsys.readouterr()

    return run


class TestCommand:
    def test_a_file_of_questions_becomes_items_and_says_what_was_merged(self, invoke, tmp_path):
        path, out = write(tmp_path, "my.csv", "question,A,B,answer\nSo?,y,n,A\nso,y,n,A\n"), tmp_path / "mine.jsonl"
        code, said, err = invoke("items", path, "--out", out)
        assert (code, said) == (0, f"{out}: 1 items\n")
        assert err == "note: 1 of 2 questions repeat an earlier one and were merged with it\n"
        assert [right_letter(item) for item in read_items(out)] == ["A"]

    def test_a_published_set_becomes_items(self, invoke, tmp_path, cache):
        out = tmp_path / "mmlu.jsonl"
        code, said, err = invoke("items", "mmlu", "--out", out, "--limit", "6", "--source", local(tmp_path, "mmlu"))
        assert (code, said) == (0, f"{out}: 6 items\n")
        assert "note: mmlu from" in err and len(read_items(out)) == 6

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("absent.csv",), "cannot read questions"),
            (("risk", "--limit", "3"), "--limit is for published sets"),
            (("nonsense",), "unknown task 'nonsense'"),
        ],
    )
    def test_errors_are_one_line_and_nothing_is_written(self, invoke, tmp_path, args, said):
        code, out, err = invoke("items", *args, "--out", tmp_path / "o.jsonl")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err and not (tmp_path / "o.jsonl").exists()

    def test_a_file_of_another_kind_is_told_what_would_do(self, invoke, tmp_path):
        code, _, err = invoke("items", write(tmp_path, "q.txt", "x"), "--out", tmp_path / "o.jsonl")
        assert code == 2 and "ends in .csv" in err
