"""Whole runs on mixed text."""

import json
import random
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import lagsearch
from lagsearch.data.tokens.batches import validation_rows
from lagsearch.data.tokens.store import TokenStore
from lagsearch.data.tokens.tokenizers import byte_tokenizer, character_tokenizer
from lagsearch.display.watch import Watch
from lagsearch.errors import SpaceError
from lagsearch.planning.vocabulary import find_tokenizer
from lagsearch.running.run import _open_data
from lagsearch.training.examples import Examples


class Interrupt(Watch):
    """Raises at a sign of life with a running number."""

    def __init__(self, at):
        self.left = at

    def progress(self, progress):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture
def mixed(write_space, corpus, tmp_path):
    """The tiny space on a mixture of its text and another."""
    other = tmp_path / "other.txt"
    other.write_text("".join(f"{n} and {n * n} are a number and its square\n" for n in range(4000)))
    mixture = f"[{{weight: 3, files: [{corpus}]}}, {{weight: 1, files: [{other}]}}]"
    return lagsearch.load_space(write_space(), [f"data.train={{mixture: {mixture}}}"])


def run(space, folder):
    return lagsearch.run(space, out=folder, serial=True, watch=Watch())


def losses(result):
    return {each.name: each.val_loss for each in result.candidates}


def test_a_mixture_is_measured_by_its_shares_and_goes_on_as_if_never_interrupted(
    mixed, tmp_path, cache
):
    whole = run(mixed, tmp_path / "whole")
    folders = json.loads((tmp_path / "whole" / "environment.json").read_text())["inputs"]["tokens"]
    assert [weight for _, weight in folders["train"]] == [3.0, 1.0]
    model = AutoModelForCausalLM.from_pretrained(whole.checkpoint).eval()
    texts = [
        (TokenStore(cache / "tokens" / name).tokens("validation"), weight)
        for name, weight in folders["validation"]
    ]
    found = []
    for rows in validation_rows(texts, 16, 4, 4):
        tokens = torch.from_numpy(rows)
        assert [bool((row == ord("9")).any()) for row in tokens].count(True) <= 1
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits
        found.append(cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))
    reported = whole.report["winner"]["val_loss"]["24"]
    assert float(torch.stack(found).mean()) == pytest.approx(reported, abs=1e-5)
    with pytest.raises(KeyboardInterrupt):
        lagsearch.run(mixed, out=tmp_path / "cut", serial=True, watch=Interrupt(9))
    assert losses(run(mixed, tmp_path / "cut")) == losses(whole)


def test_a_mixture_of_one_text_is_that_text(write_space, corpus, tmp_path, cache):
    alone = run(lagsearch.load_space(write_space()), tmp_path / "alone")
    mixture = f"data.train={{mixture: [{{weight: 0.3, files: [{corpus}]}}]}}"
    one = run(lagsearch.load_space(write_space(), [mixture]), tmp_path / "one")
    assert losses(one) == losses(alone)
    assert len(list((cache / "tokens").iterdir())) == 1
    assert len(list((cache / "sources").iterdir())) == 1


def test_a_text_of_a_mixture_that_is_not_there_is_named_before_anything_runs(write_space, corpus):
    mixture = f"[{{weight: 3, files: [{corpus}]}}, {{weight: 1, files: [gone.txt]}}]"
    space = lagsearch.load_space(write_space(), [f"data.train={{mixture: {mixture}}}"])
    with pytest.raises(SpaceError, match=r"data\.train\.mixture\[1\].*gone\.txt: no such file"):
        lagsearch.plan(space)


# Sources of their own text


CONFIG = (
    "{model_type: llama, num_hidden_layers: 2, hidden_size: 16, intermediate_size: 32, "
    "num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32}"
)


@pytest.fixture
def texts(tmp_path):
    """Two texts that no row of the other can be taken for, the second three times as long."""
    paths = tmp_path / "a.txt", tmp_path / "b.txt"
    for path, letters, n_lines in zip(paths, ("abcdefg", "tuvwxyz"), (6000, 18000), strict=True):
        draw = random.Random(letters)
        path.write_text("".join("".join(draw.choices(letters, k=9)) + "\n" for _ in range(n_lines)))
    return paths


def two_sources(write_space, texts, *overrides, part=""):
    """Return the tiny space with two sources, each of which has a text of its own."""
    own = f"config: {CONFIG}, steps: 8{part}"
    sources = ", ".join(
        f"{{name: {name}, pretrain: {{{own}, corpus: {{files: [{path}]}}}}}}"
        for name, path in zip("ab", texts, strict=True)
    )
    candidates = "candidates=[{operator: multi-stack, order: all, boundary: attached}]"
    train = [] if any(each.startswith("data.train=") for each in overrides) else ["data.train=null"]
    return lagsearch.load_space(
        write_space(), [*train, f"sources=[{sources}]", candidates, *overrides]
    )


class Rows:
    """Notes the rows of every training batch, and the validation rows, by the model's name."""

    def __init__(self, monkeypatch):
        self.train, self.validation = {}, {}
        init = Examples.__init__

        def watched(examples, job, stream):
            init(examples, job, stream)
            rows = examples.rows

            def noted(step):
                found = rows(step)
                self.train.setdefault(job.name, []).append(found)
                return found

            examples.rows = noted

        monkeypatch.setattr(Examples, "__init__", watched)

    def letters(self, name):
        """Return how many of a model's rows are of the first text and of the second."""
        rows = np.concatenate(self.train[name])
        return [
            int(((rows >= low) & (rows <= low + 6)).any(1).sum()) for low in (ord("a"), ord("t"))
        ]


def test_sources_train_on_their_own_text_and_candidates_on_all_of_it(
    write_space, texts, tmp_path, monkeypatch
):
    rows = Rows(monkeypatch)
    space = two_sources(write_space, texts)
    result = run(space, tmp_path / "run")
    assert {each.status for each in result.candidates} == {"ok"}
    assert rows.letters("a") == [8 * 4, 0]
    assert rows.letters("b") == [0, 8 * 4]
    winner = result.winner
    assert rows.letters(winner)[0] == pytest.approx(24 * 4 / 4, abs=2)
    assert sum(rows.letters(winner)) == 24 * 4
    tokens = json.loads((tmp_path / "run" / "environment.json").read_text())["inputs"]["tokens"]
    sizes = [path.stat().st_size for path in texts]
    weights = [weight for _, weight in tokens["train"]]
    assert weights[0] / weights[1] == pytest.approx(sizes[0] / sizes[1], rel=0.2)
    assert tokens["validation"] == tokens["train"]
    again = run(two_sources(write_space, texts), tmp_path / "again")
    assert losses(again) == losses(result)


def test_a_source_of_its_own_text_is_measured_on_the_validation_of_the_space(
    write_space, texts, tmp_path, corpus, cache
):
    held = tmp_path / "held.txt"
    draw = random.Random("held")  # words of the first text's letters, which it has not
    held.write_text("".join("".join(draw.choices("abcdefg", k=9)) + "\n" for _ in range(900)))
    overrides = [f"data.train={{files: [{corpus}]}}", f"data.validation={{files: [{held}]}}"]
    run(two_sources(write_space, texts, *overrides), tmp_path / "run")
    stores = {}
    for folder in (cache / "tokens").iterdir():
        facts = TokenStore(folder).facts
        name = facts["corpus"]["name"] or facts["validation"]["name"]
        stores[name] = facts["corpus"]["tokens"], facts["validation"]["tokens"]
    assert stores == {
        **{str(path): (path.stat().st_size + 1, 0) for path in (corpus, *texts)},
        str(held): (0, held.stat().st_size + 1),
    }
    facts = [json.loads(path.read_text()) for path in (cache / "sources").glob("*/source.json")]
    text = [each["made_of"]["text"]["store"] for each in facts]
    assert len({each["train"][0][0] for each in text}) == 2
    assert len({each["validation"][0][0] for each in text}) == 1
    # the source that saw such text is better at it than the one that never did
    by_loss = sorted(facts, key=lambda each: each["val_loss"])
    best = TokenStore(cache / "tokens" / by_loss[0]["made_of"]["text"]["store"]["train"][0][0])
    assert best.facts["corpus"]["name"] == str(texts[0])


def test_a_text_that_two_sources_share_is_one_text_and_may_be_parted(write_space, texts, tmp_path):
    space = two_sources(write_space, [texts[0], texts[0]], part=", part: 1/2")
    run(space, tmp_path / "run")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert isinstance(environment["inputs"]["tokens"], str)
    short = tmp_path / "short.txt"
    short.write_text("abc" * 15)
    own = ["data.train={corpus: python-stdlib}", "data.sequence_length=16"]
    with pytest.raises(SpaceError, match=r"sources\[1\]\.pretrain\.corpus.*46 tokens to train on"):
        space = two_sources(write_space, [texts[0], short], *own, part=", part: 1/2")
        _open_data([space], byte_tokenizer(), Watch())


def test_a_text_that_would_hardly_be_seen_is_refused(write_space, texts, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("abcdefgh\n" * 5)
    space = two_sources(write_space, [texts[1], short], f"data.validation={{files: [{texts[0]}]}}")
    message = r"sources\[1\]\.pretrain\.corpus.*46 tokens are less than a thousandth"
    with pytest.raises(SpaceError, match=message):
        _open_data([space], byte_tokenizer(), Watch())


def test_a_missing_text_of_a_source_is_named_before_anything_runs(write_space, texts, tmp_path):
    space = two_sources(write_space, [texts[0], tmp_path / "gone.txt"])
    with pytest.raises(SpaceError, match=r"sources\[1\]\.pretrain\.corpus.*gone\.txt: no such"):
        lagsearch.plan(space)


def test_a_vocabulary_from_the_text_has_the_characters_of_all_sources(write_space, texts):
    space = two_sources(write_space, texts, "data.tokenizer=characters")
    known = find_tokenizer(space).get_vocab()
    assert {*"abcdefgtuvwxyz\n"} <= {*known}


def test_a_sources_text_that_cannot_be_read_is_named_at_its_key(write_space, texts, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 10)
    pair = [texts[0], tmp_path / "latin.txt"]
    for tokenizer in ("characters", "{train_bpe: 300}"):
        space = two_sources(write_space, pair, f"data.tokenizer={tokenizer}")
        with pytest.raises(
            SpaceError, match=r"sources\[1\]\.pretrain\.corpus.*latin\.txt: not UTF"
        ):
            find_tokenizer(space)


def test_the_winner_has_the_spaces_tokenizer_whoever_made_the_tokens(write_space, tmp_path):
    first = byte_tokenizer()
    first.save_pretrained(tmp_path / "first")
    second = byte_tokenizer()
    second.pad_token, second.model_max_length = second.eos_token, 99
    second.chat_template = "{{ messages }}"
    second.save_pretrained(tmp_path / "second")
    texts = set()
    for name in ("first", "second"):
        space = lagsearch.load_space(write_space(), [f"data.tokenizer={tmp_path / name}"])
        result = run(space, tmp_path / f"run-{name}")
        environment = json.loads((result.folder / "environment.json").read_text())
        texts.add(environment["inputs"]["tokens"])
        saved = AutoTokenizer.from_pretrained(result.checkpoint)
        expected = AutoTokenizer.from_pretrained(tmp_path / name)
        for key in ("pad_token", "eos_token", "model_max_length", "chat_template"):
            assert getattr(saved, key) == getattr(expected, key), (name, key)
    assert len(texts) == 1  # of the same tokens


# Tokenizers of checkpoints


@pytest.fixture
def checkpoint(tmp_path):
    """Make a checkpoint with a tokenizer of given characters, or with none."""

    def make(name, characters):
        folder = tmp_path / name
        config = LlamaConfig(
            vocab_size=300,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=32,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        if characters is not None:
            character_tokenizer(sorted(characters)).save_pretrained(folder)
        return folder

    return make


def of_checkpoints(write_space, *folders, tokenizer="null"):
    sources = ", ".join(
        f"{{name: s{number}, checkpoint: {folder}}}" for number, folder in enumerate(folders)
    )
    candidates = "candidates=[{operator: stack, source: s0}]" if len(folders) > 1 else ""
    overrides = [f"sources=[{sources}]", f"data.tokenizer={tokenizer}"]
    return lagsearch.load_space(write_space(), [*overrides, *filter(None, [candidates])])


def test_checkpoints_must_number_their_tokens_alike(write_space, checkpoint):
    one, same = checkpoint("one", "abc"), checkpoint("same", "abc")
    other, more, none = (checkpoint(*each) for each in [("o", "abd"), ("m", "abcd"), ("n", None)])
    assert find_tokenizer(of_checkpoints(write_space, one, same, none)).get_vocab()["a"] == 0
    message = r"sources\[1\]\.checkpoint.*another tokenizer than source s0: "
    with pytest.raises(SpaceError, match=message + r"'c' is token 2 here, None there") as caught:
        find_tokenizer(of_checkpoints(write_space, one, other))
    assert "\n" not in str(caught.value)
    with pytest.raises(SpaceError, match=message + r"7 tokens here, 8 there"):
        find_tokenizer(of_checkpoints(write_space, one, more))


def test_tokenizers_of_one_vocabulary_that_work_otherwise_are_refused(write_space, checkpoint):
    one, other = checkpoint("one", "abc"), checkpoint("other", "abc")
    written = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps({**written, "normalizer": {"type": "NFKC"}}))
    message = r"sources\[1\]\.checkpoint.*source s0: the same vocabulary, but another normalizer in"
    with pytest.raises(SpaceError, match=message):
        find_tokenizer(of_checkpoints(write_space, one, other))
    cutting = {"truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst"}}
    written["truncation"] = {**cutting["truncation"], "stride": 0}
    (other / "tokenizer.json").write_text(json.dumps(written))
    assert len(find_tokenizer(of_checkpoints(write_space, one, other))) == 7


def test_a_tokenizer_that_lacks_or_has_the_objectives_tokens_is_the_same(write_space, checkpoint):
    one, other = checkpoint("one", "abc"), checkpoint("other", "abc")
    space = of_checkpoints(write_space, one, other)
    changes = ["objective={name: ul2}", "training.batch_size=5"]
    ul2 = lagsearch.load_space(space.path, changes).stage
    ul2 = replace(ul2, space=ul2.space.model_copy(update={"sources": space.space.sources}))
    data = ul2.space.data.model_copy(update={"tokenizer": None})
    ul2 = replace(ul2, space=ul2.space.model_copy(update={"data": data}))
    found = find_tokenizer(ul2)
    assert len(found) > 7
    found.save_pretrained(other)
    assert len(find_tokenizer(ul2)) == len(found)


def test_a_broken_tokenizer_is_not_taken_for_none(write_space, checkpoint):
    one, other = checkpoint("one", "abc"), checkpoint("other", "abc")
    (other / "tokenizer.json").write_text('{"version": "1.0"')
    message = r"sources\[1\]\.checkpoint.*its tokenizer cannot be loaded"
    with pytest.raises(SpaceError, match=message) as caught:
        find_tokenizer(of_checkpoints(write_space, one, other))
    assert "\n" not in str(caught.value)


def test_a_plan_fetches_no_checkpoint_to_look_at_its_tokenizer(write_space, monkeypatch):
    asked = []

    def download(name, **keys):
        asked.append(keys["local_files_only"])
        raise OSError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    space = of_checkpoints(write_space, "some/model", tokenizer="bytes")
    assert len(find_tokenizer(space, fetch=False)) == 259
    assert asked == [True]
    with pytest.raises(SpaceError, match=r"cannot be fetched .*HF_HUB_OFFLINE=1"):
        find_tokenizer(space)
    assert asked == [True, False]


def test_a_tokenizer_that_is_not_the_checkpoints_is_refused(write_space, checkpoint):
    one, none = checkpoint("one", "abc"), checkpoint("none", None)
    with pytest.raises(
        SpaceError,
        match=r"data\.tokenizer \"bytes\": is not the tokenizer of source s0: 259 tokens",
    ):
        find_tokenizer(of_checkpoints(write_space, one, tokenizer="bytes"))
    again = find_tokenizer(of_checkpoints(write_space, one, tokenizer=str(one)))
    assert again.get_vocab()["c"] == 2
    assert len(find_tokenizer(of_checkpoints(write_space, none, tokenizer="bytes"))) == 259
    with pytest.raises(SpaceError, match=r"has no tokenizer; set data\.tokenizer"):
        find_tokenizer(of_checkpoints(write_space, none))
