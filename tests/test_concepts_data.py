"""The data of injected concepts: what ships is what it says, and faulty files are refused in one line."""

from __future__ import annotations

import re
from copy import deepcopy
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from introspect import concepts
from introspect.concepts import (
    PARTS,
    count_tokens,
    covered,
    fill,
    fill_sentences,
    list_categories,
    read_materials,
    read_norms,
    read_prompts,
    read_sentences,
    read_words,
)
from introspect.concepts.forms import WordFinder, forms, tokens
from introspect.errors import SpecError
from introspect.strict_yaml import load_yaml
from tiny_folders import tiny_tokenizer

ROOT = Path(__file__).parents[1]
README = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
WORDS, SENTENCES, PROMPTS = read_words(), read_sentences(), read_prompts()
EVERY_WORD = WORDS.place
SHIPPED = {
    name: load_yaml((ROOT / "data" / "concepts" / name).read_text(encoding="utf-8"), name)
    for name in ("sentences.yaml", "prompts.yaml")
}
SIZES = {"full": PROMPTS.full, "small": PROMPTS.small}


@pytest.fixture(scope="module")
def tokenizer():
    from introspect.models import ensure_embedded, resolve
    from introspect.models.load import load_tokenizer

    return load_tokenizer(resolve("smollm2-135m"), ensure_embedded("smollm2-135m"))


def n_single(tokenizer, words):
    """How many of the words are one token within a text."""
    return list(count_tokens(tokenizer, words).values()).count(1)


class TestShippedWords:
    def test_five_categories_of_64_in_equal_halves(self):
        assert list(WORDS.categories) == ["abstract_nouns", "concrete_nouns", "verbs", "people", "countries"]
        for category in WORDS.categories.values():
            assert [len(getattr(category, part)) for part in PARTS] == [32, 32, 24, 24]
        assert len(WORDS.words("baseline")) == len(WORDS.words("control")) == 120

    def test_concreteness_is_said_of_the_nouns_alone(self):
        said = {name: category.concrete for name, category in WORDS.categories.items()}
        assert said == {
            "abstract_nouns": False,
            "concrete_nouns": True,
            "verbs": None,
            "people": None,
            "countries": None,
        }

    def test_no_word_is_in_another_and_names_alone_have_capitals(self):
        for one, other in combinations(EVERY_WORD, 2):
            assert one.lower() not in other.lower() and other.lower() not in one.lower(), (one, other)
        for word, place in EVERY_WORD.items():
            assert word.isalpha() and word == (
                word.title() if place.category in ("people", "countries") else word.lower()
            )

    def test_no_word_is_read_in_a_sentence_a_question_or_a_prompt(self):
        heard = {
            token.lower() for text in [*SENTENCES.lines(), *(t for _, t in PROMPTS.texts())] for token in tokens(text)
        }
        assert heard.isdisjoint(form for word in EVERY_WORD for form in forms(word))
        assert not [(word, token) for word in EVERY_WORD for token in heard if token.startswith(word.lower())]
        assert len(heard) > 300

    def test_halves_have_about_as_many_words_of_one_token(self, tokenizer):
        for category in WORDS.categories:
            one, other = (n_single(tokenizer, WORDS.words(part, category)) for part in ("exploration", "confirmation"))
            assert abs(one - other) <= 1

    def test_the_counts_of_tokens_in_the_readme_are_measured(self, tokenizer):
        said = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", README, re.MULTILINE)
        measured = [
            (name, *(str(n_single(tokenizer, WORDS.words(part, name))) for part in PARTS)) for name in WORDS.categories
        ]
        assert said == measured

    def test_lists_are_named_in_one_line_each(self):
        listed = list_categories()
        assert list(listed) == list(WORDS.categories)
        assert listed["verbs"].endswith("(32 exploration, 32 confirmation, 24 baseline, 24 control)")


class TestShippedText:
    def test_sixty_sentences_of_6_to_14_words_that_start_and_end_as_sentences(self):
        assert len(SENTENCES.sentences) == 60
        for sentence in SENTENCES.sentences:
            assert 6 <= len(sentence.split()) <= 14
            assert re.fullmatch(r"[A-Z][A-Za-z ,']+\.", sentence)

    def test_sentences_are_varied(self):
        n_words = sum(len(sentence.split()) for sentence in SENTENCES.sentences)
        assert len({token.lower() for sentence in SENTENCES.sentences for token in tokens(sentence)}) > n_words / 2
        assert len({sentence.split()[0] for sentence in SENTENCES.sentences}) >= 12

    def test_questions_come_in_pairs_of_one_form(self):
        assert len(SENTENCES.questions) == 24
        for pair in SENTENCES.questions:
            one, other = tokens(pair.no.lower()), tokens(pair.yes.lower())
            assert len(one) == len(other) and one[0] == other[0] and pair.no != pair.yes

    def test_every_prompt_has_several_wordings_in_both_sizes(self):
        for prompts in SIZES.values():
            counts = {name: len(getattr(prompts, name)) for name in type(prompts).model_fields}
            kinds = ("vector", "trials", "thought_text", "prefill", "intentional", "localise")
            assert counts == dict(zip(kinds, (4, 4, 3, 3, 3, 3), strict=True))
        texts = [text for _, text in PROMPTS.texts()]
        assert max(map(len, (t for where, t in PROMPTS.texts() if where.startswith("small")))) <= 90
        assert len(texts) > 100

    @pytest.mark.parametrize("size", SIZES)
    def test_asks_of_a_wording_offer_the_answers_in_one_order_and_wordings_in_both(self, size):
        offered = []
        for trial in SIZES[size].trials:
            asks = (trial.detect, trial.reversed, trial.concept, trial.unrelated)
            orders = [re.findall(r"Yes or No|No or Yes", ask) for ask in asks]
            assert orders[0] in (["Yes or No"], ["No or Yes"]) and orders == [orders[0]] * 4
            assert not re.search(r"\b(?:Yes|No)\b", trial.which)
            offered += orders[0]
        assert offered.count("Yes or No") == offered.count("No or Yes") == 2
        for prefill in SIZES[size].prefill:
            assert len({re.search(r"Yes or No|No or Yes", ask)[0] for ask in (prefill.meant, prefill.slip)}) == 1

    @pytest.mark.parametrize("size", SIZES)
    def test_what_is_to_be_done_about_a_word_is_all_that_differs(self, size):
        for wording in SIZES[size].intentional:
            plain = tokens(wording.plain.lower())
            for name, ask in wording:
                said = tokens(ask.lower())
                assert all(said.count(token) >= plain.count(token) for token in plain), (name, ask)
                assert len(said) - len(plain) <= 13

    def test_a_trial_is_a_chat_whose_last_message_is_the_ask(self):
        trial = PROMPTS.full.trials[0]
        chat = trial.messages("Well?")
        assert [message["role"] for message in chat] == ["user", "assistant", "user"]
        assert [message["content"] for message in chat] == [trial.opening, trial.reply, "Well?"]
        assert PROMPTS.small.trials[0].messages("Well?") == [{"role": "user", "content": "Well?"}]


class TestFilling:
    def test_ranges_are_where_the_values_stand(self):
        filled = fill("{word}, then {sentence} and on", word="rain", sentence="a {word} b")
        assert filled.text == "rain, then a {word} b and on"
        assert {name: filled.text[a:b] for name, (a, b) in filled.at.items()} == {
            "word": "rain",
            "sentence": "a {word} b",
        }

    def test_a_missing_value_is_a_bug(self):
        with pytest.raises(KeyError):
            fill("{word} and {sentence}", word="rain")

    @pytest.mark.parametrize("prompt", [p for prompts in SIZES.values() for p in prompts.localise])
    def test_sentences_are_lettered_lines_with_their_ranges(self, prompt):
        ten = SENTENCES.sentences[:10]
        filled = fill_sentences(prompt, ten)
        assert {letter: filled.text[a:b] for letter, (a, b) in filled.at.items()} == dict(
            zip("ABCDEFGHIJ", ten, strict=True)
        )
        assert f"\nC) {ten[2]}\nD) " in filled.text

    def test_more_sentences_than_letters_are_refused(self):
        with pytest.raises(ValueError):
            fill_sentences("{sentences}", ["so"] * 27)


class TestForms:
    @pytest.mark.parametrize(
        ("word", "text"),
        [
            *[("river", "Two rivers met."), ("City", "in both cities"), ("knife", "the knives"), ("box", "boxes")],
            *[("bake", "She was baking."), ("swim", "He swam out"), ("swim", "swimming"), ("carry", "it was carried")],
            *[("agree", "we agreed"), ("forget", "I forgot it"), ("apple", "a pineapple"), ("flower", "flowering")],
            *[("New Zealand", "from new zealand's coast"), ("Newton", "Newton’s law"), ("child", "the children")],
        ],
    )
    def test_a_word_is_found_in_any_form(self, word, text):
        assert [found for found, _ in WordFinder([word, "zebra"]).find(text)] == [word]

    @pytest.mark.parametrize(
        ("word", "text"),
        [
            *[
                ("sing", "a single thing"),
                ("art", "a heart"),
                ("greet", "all this greed"),
                ("New Zealand", "a new car"),
            ],
            *[("rice", "the price"), ("glass", "a glade"), ("Oman", "a woman"), ("New Zealand", "new")],
        ],
    )
    def test_what_only_looks_like_it_is_not(self, word, text):
        assert list(WordFinder([word]).find(text)) == []

    def test_the_token_that_shows_a_word_is_named(self):
        assert list(WordFinder(["river", "swim"]).find("They swam two rivers")) == [
            ("swim", "swam"),
            ("river", "rivers"),
        ]


CATEGORY = {
    "about": "weather",
    "concrete": True,
    "exploration": ["hail"],
    "confirmation": ["sleet"],
    "baseline": ["drizzle"],
    "control": ["monsoon"],
}


def words_file(folder, **changes):
    category = {key: value for key, value in (CATEGORY | changes).items() if value is not ...}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"categories": {"weather": category}}), encoding="utf-8")
    return path


def refused(read, *args, **kwargs) -> str:
    with pytest.raises(SpecError) as error:
        read(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestOwnWords:
    def test_a_file_of_ones_own_takes_the_place_of_the_shipped_one(self, tmp_path):
        found = read_materials(words=words_file(tmp_path))
        assert found.words.words("exploration") == found.words.words("exploration", "weather") == ("hail",)
        assert found.words.place["monsoon"] == ("weather", "control")
        assert found.sentences == SENTENCES and found.prompts == PROMPTS

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"exploration": []}, "categories.weather.exploration"),
            ({"confirmation": ...}, "'categories.weather.confirmation' is missing"),
            ({"baseline": []}, "no category has baseline words"),
            ({"control": ...}, "no category has control words"),
            ({"concrete": "yes"}, "categories.weather.concrete"),
            ({"controls": ["fog"]}, "unknown key"),
            ({"control": ["drizzle"]}, "'drizzle' stands in weather.baseline and in weather.control"),
            ({"exploration": ["hail", "hail"]}, "'hail' stands in weather.exploration and in weather.exploration"),
            ({"control": ["Hail"]}, "'Hail'"),
            ({"control": ["drizzles"]}, "'drizzle' in weather.baseline and 'drizzles' in weather.control are"),
            ({"control": ["hailed"]}, "'hail' in weather.exploration and 'hailed' in weather.control are"),
            (
                {"control": ["sleetstorm"]},
                "'sleetstorm' in weather.control and 'sleet' in weather.confirmation",
            ),
            ({"control": ["heavy hail"]}, "'heavy hail'"),
            ({"control": [""]}, "is no word"),
            ({"control": ["the  fog"]}, "is no word"),
            ({"control": ["{word}"]}, "is no word"),
            ({"control": ["K2"]}, "is no word"),
            ({"control": [7]}, "categories.weather.control.0"),
        ],
    )
    def test_faults_are_one_line_with_file_and_remedy(self, tmp_path, changes, said):
        path = words_file(tmp_path, **changes)
        message = refused(read_words, path)
        assert str(path) in message and said in message

    def test_a_file_without_categories_is_refused(self, tmp_path):
        (tmp_path / "mine.yaml").write_text("categories: {}\n")
        assert "categories" in refused(read_words, tmp_path / "mine.yaml")

    def test_a_missing_file_is_one_line(self, tmp_path):
        assert "cannot read" in refused(read_words, tmp_path / "absent.yaml")

    @pytest.mark.parametrize(
        ("word", "where"),
        [
            ("tomato", "'Our neighbor grows tomatoes behind the garage.' has 'tomatoes'"),
            ("feather", "'Do fish have feathers?' has 'feathers'"),
            ("experimenter", "full.trials.3.opening has 'experimenter'"),
        ],
    )
    def test_a_word_that_the_model_reads_anyway_is_refused(self, tmp_path, word, where):
        path = words_file(tmp_path, control=[word])
        message = refused(read_materials, words=path)
        assert where in message and str(path) in message and repr(word) in message

    def test_placeholders_are_no_words(self):
        assert not [text for _, text in PROMPTS.texts() if "{" in text]


class TestOwnText:
    def rewritten(self, folder, name, change):
        document = deepcopy(SHIPPED[name])
        change(document)
        path = folder / name
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda d: d.update(sentences=d["sentences"][:9]), "at least 10"),
            (lambda d: d.update(questions=[]), "questions"),
            (lambda d: d["sentences"].append(d["sentences"][0].upper()), "stands twice"),
            (lambda d: d["questions"].append({"no": "Is it?", "yes": "Is it?"}), "stands twice"),
            (lambda d: d["questions"].append({"no": "It is.", "yes": "Is it?"}), "no question"),
            (lambda d: d["questions"].append({"no": "Is it?"}), "missing"),
            (lambda d: d["sentences"].append(" "), "no line"),
            (lambda d: d["sentences"].append("Two\nlines."), "no line"),
            (lambda d: d["sentences"].append("A {word}."), "no line"),
        ],
    )
    def test_faulty_sentences_are_refused(self, tmp_path, change, said):
        path = self.rewritten(tmp_path, "sentences.yaml", change)
        message = refused(read_sentences, path)
        assert str(path) in message and said in message

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda d: d["full"].update(vector=["Tell me."]), "full.vector.0: the prompt 'Tell me.' must hold {word}"),
            (lambda d: d["full"].update(vector=["{word} {word}"]), "full.vector.0"),
            (lambda d: d["small"]["trials"][0].update(detect="Is it {word}?"), "no other placeholder"),
            (lambda d: d["small"]["trials"][0].update(detect="Is it {Word}?"), "no other placeholder"),
            (lambda d: d["small"]["trials"][0].update(opening="Hello."), "opening and reply come together"),
            (lambda d: d["small"]["intentional"][0].pop("avoid"), "'small.intentional.0.avoid' is missing"),
            (lambda d: d["small"].update(localise=[]), "small.localise"),
            (lambda d: d.update(tiny={}), "unknown key 'tiny'"),
            (lambda d: d["full"]["trials"][0].update(which=" "), "full.trials.0.which"),
        ],
    )
    def test_faulty_prompts_are_refused(self, tmp_path, change, said):
        path = self.rewritten(tmp_path, "prompts.yaml", change)
        message = refused(read_prompts, path)
        assert str(path) in message and said in message

    def test_a_sentence_with_a_shipped_word_names_both_files(self, tmp_path):
        path = self.rewritten(tmp_path, "sentences.yaml", lambda d: d["sentences"].append("The whales swam far out."))
        message = refused(read_materials, sentences=path)
        assert str(path) in message and "words.yaml" in message and "'whale'" in message


class TestTokens:
    def test_words_are_counted_as_they_stand_within_a_text(self, tokenizer):
        assert count_tokens(tokenizer, ["river", "laziness"]) == {"river": 1, "laziness": 2}
        assert count_tokens(tiny_tokenizer(), ["river"]) == {"river": 6}


class TestNorms:
    def write(self, folder, text, encoding="utf-8"):
        path = folder / "norms.csv"
        path.write_bytes(text.encode(encoding))
        return path

    def test_measures_are_read_and_empty_cells_are_missing(self, tmp_path):
        path = self.write(tmp_path, "\ufeffword,concreteness,frequency\nRiver,4.9,4.8\njustice,1.4,\n")
        norms = read_norms(path)
        assert (norms["river"].concreteness, norms["river"].frequency) == (4.9, 4.8)
        assert norms["justice"].frequency is None
        assert covered(norms, ["River", "Mozart"]) == {"River": norms["river"]}

    def test_one_measure_is_enough_and_columns_have_any_order(self, tmp_path):
        norms = read_norms(self.write(tmp_path, "frequency,word\n-0.5,river\n"))
        assert (norms["river"].concreteness, norms["river"].frequency) == (None, -0.5)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", ":1: needs the columns"),
            ("word\nriver\n", ":1: needs the columns"),
            ("Word,Conc.M\nriver,4.9\n", ":1: needs the columns"),
            ("word,concreteness,concreteness\nriver,1,2\n", ":1: needs the columns"),
            ("word,concreteness\n", "holds no words"),
            ("word,concreteness\nriver\n", ":2: 1 cells"),
            ("word,concreteness\nriver,high\n", ":2: concreteness 'high' is no number"),
            ("word,concreteness\nriver,nan\n", ":2: concreteness 'nan' is no number"),
            ("word,concreteness\nriver,inf\n", "is no number"),
            ("word,concreteness\nriver,4\nRiver,5\n", ":3: 'river' stands twice"),
            ("word,concreteness\n,4\n", ":2: no word"),
            ('word,concreteness\n"river,4\n', "not CSV"),
        ],
    )
    def test_faults_are_one_line_with_file_and_line(self, tmp_path, text, said):
        path = self.write(tmp_path, text)
        message = refused(read_norms, path)
        assert str(path) in message and said in message

    def test_other_encodings_and_missing_files_are_refused(self, tmp_path):
        assert "UTF-8" in refused(read_norms, self.write(tmp_path, "word,frequency\nrivière,3\n", "latin-1"))
        assert "cannot read" in refused(read_norms, tmp_path / "absent.csv")


def test_everything_exported_is_there():
    assert all(hasattr(concepts, name) for name in concepts.__all__)
