"""Local tasks of lm-evaluation-harness against log-likelihoods computed with transformers alone."""

import json
import math
import random
import re
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from finished import finished
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import lagsearch
from lagsearch.data.tokens.tokenizers import byte_tokenizer
from lagsearch.display.watch import Watch
from lagsearch.errors import HarnessError, SpaceError
from lagsearch.space import AskedTask, Harness
from lagsearch.training.job import Compute

pytestmark = [
    pytest.mark.harness,
    pytest.mark.skipif(
        find_spec("lm_eval") is None, reason="needs the extra: pip install -e '.[eval]'"
    ),
]

POSITIONS = 64
BOS = 256  # the byte tokenizer's separator

CHOICES = [
    ("the layer", ["grows", "falls", "is done with all of it"], 0),
    ("and the loss", ["layer", "falls", "a"], 1),
    ("before a step is", ["it", "the", "done"], 2),
    ("with all of", ["it", "grows", "and the loss"], 0),
    ("the loss falls", ["is", "before", "layer"], 1),
    ("a step", ["of", "is done", "the"], 1),
    ("it", ["and the layer grows", "falls", "all"], 2),
]

MULTIPLE_CHOICE = """\
task: choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/choice.jsonl, train: {folder}/example.jsonl}}}}
output_type: multiple_choice
test_split: test
fewshot_split: train
doc_to_text: "{{{{question}}}}"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
  - {{metric: brier_score, aggregation: brier_score, higher_is_better: false}}
metadata: {{version: 2.5}}
"""

ROLLING = """\
task: rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/rolling.jsonl}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - {{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}}
  - {{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}}
"""

GENERATE = """\
task: generate
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/generate.jsonl}}}}
output_type: generate_until
test_split: test
doc_to_text: "{{{{start}}}}"
doc_to_target: "{{{{end}}}}"
generation_kwargs: {{until: [" "], max_gen_toks: 12, do_sample: false}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""

GREEDY = """\
task: greedy
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/generate.jsonl}}}}
output_type: loglikelihood
test_split: test
doc_to_text: "{{{{start}}}}"
doc_to_target: "{{{{end}}}}"
metric_list:
  - {{metric: perplexity, aggregation: perplexity, higher_is_better: false}}
"""


@pytest.fixture(scope="module")
def model(corpus):
    """A model that has learned a little of the corpus."""
    tokens = torch.tensor(list(corpus.read_bytes()))
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=259,
                num_hidden_layers=2,
                hidden_size=32,
                intermediate_size=64,
                num_attention_heads=2,
                max_position_embeddings=POSITIONS,
                bos_token_id=BOS,
                eos_token_id=BOS,
                pad_token_id=257,
            )
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        starts = torch.randint(len(tokens) - POSITIONS, (16,), generator=generator)
        rows = torch.stack([tokens[start : start + POSITIONS] for start in starts.tolist()])
        model(rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture
def write_tasks(tmp_path):
    """Write task files and their documents, and return what a space would say."""

    def write(*texts, **documents):
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        for text in texts:
            text = text.format(folder=folder)
            name = re.search(r"^(?:task|group): (\w+)", text, re.MULTILINE)[1]
            (folder / f"{name}.yaml").write_text(text)
        for name, rows in documents.items():
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines)
        return str(folder)

    return write


@pytest.fixture
def measured(model):
    """Measure the model on one local task, and return all and the rows by metric."""
    from lagsearch.running.evaluation.harness import evaluate_tasks
    from lagsearch.running.evaluation.tasks import open_tasks

    def measured(folder, name, num_fewshot=None, **settings):
        harness = Harness(tasks=(name,), include_path=folder, num_fewshot=num_fewshot, **settings)
        tasks = open_tasks(harness, print)
        asked = AskedTask(name, num_fewshot)
        found = evaluate_tasks(model, byte_tokenizer(), tasks, asked, Compute())
        return found, {row["metric"]: row for row in found["results"]}

    return measured


def choice_documents():
    return [
        {"question": question, "choices": choices, "gold": gold}
        for question, choices, gold in CHOICES
    ]


def log_likelihood(model, context, continuation):
    """Log-likelihood of tokens after others, in nats."""
    tokens = torch.tensor([context + continuation])
    with torch.no_grad():
        logits = model(tokens[:, :-1]).logits[0, len(context) - 1 :]
    return -cross_entropy(logits, tokens[0, len(context) :], reduction="sum").item()


def text_likelihood(model, context, continuation):
    return log_likelihood(model, list(context.encode()), list(continuation.encode()))


def by_hand(model, before=""):
    """Accuracy, accuracy by length, and Brier score of the documents above, one at a time."""
    right, right_by_length, brier = [], [], []
    for question, choices, gold in CHOICES:
        found = [text_likelihood(model, before + question, f" {each}") for each in choices]
        right.append(float(np.argmax(found) == gold))
        per_letter = [value / len(each) for value, each in zip(found, choices, strict=True)]
        right_by_length.append(float(np.argmax(per_letter) == gold))
        chances = np.exp(found) / np.exp(found).sum()
        brier.append(((chances - np.eye(len(choices))[gold]) ** 2).sum())
    return right, right_by_length, brier


def test_multiple_choice_is_what_the_log_likelihoods_say(model, write_tasks, measured):
    folder = write_tasks(MULTIPLE_CHOICE, choice=choice_documents(), example=choice_documents()[:1])
    found, rows = measured(folder, "choice")
    right, right_by_length, brier = by_hand(model)
    assert rows["acc"]["value"] == pytest.approx(np.mean(right))
    assert rows["acc_norm"]["value"] == pytest.approx(np.mean(right_by_length))
    assert rows["brier_score"]["value"] == pytest.approx(np.mean(brier), rel=1e-5)
    error = np.std(right, ddof=1) / math.sqrt(len(right))
    assert rows["acc"]["standard_error"] == pytest.approx(error)
    assert rows["brier_score"]["standard_error"] is None
    assert (rows["acc"]["samples"], rows["acc"]["num_fewshot"]) == (len(CHOICES), 0)
    assert rows["acc"]["task_version"] == "2.5"
    assert rows["acc"]["higher_is_better"] and not rows["brier_score"]["higher_is_better"]
    assert not found["is_truncated"]
    assert found["max_length"] == POSITIONS
    assert 0 < np.mean(right) < 1  # else the test says little


def test_examples_stand_before_the_question(model, write_tasks, measured):
    example = {"question": "a loss", "choices": ["falls", "is"], "gold": 0}
    folder = write_tasks(MULTIPLE_CHOICE, choice=choice_documents(), example=[example])
    _, rows = measured(folder, "choice", num_fewshot=1)
    _, _, brier = by_hand(model, before="a loss falls\n\n")
    assert rows["brier_score"]["value"] == pytest.approx(np.mean(brier), rel=1e-5)
    assert rows["brier_score"]["num_fewshot"] == 1
    assert np.mean(brier) != pytest.approx(np.mean(by_hand(model)[2]), rel=1e-3)


def test_rolling_perplexity_is_that_of_windows_without_overlap(model, write_tasks, measured):
    texts = ["the layer grows and the loss falls. " * 5, "a step is done.", "it"]
    folder = write_tasks(ROLLING, rolling=[{"text": text} for text in texts])
    _, rows = measured(folder, "rolling")
    total = 0.0
    for text in texts:
        tokens = list(text.encode())
        for start in range(0, len(tokens), POSITIONS):
            part = tokens[start : start + POSITIONS]
            # a window that is not full is filled up with the tokens before it
            before = [BOS, *tokens[:start]][-(POSITIONS + 1 - len(part)) :]
            total += log_likelihood(model, before, part)
    n_words = sum(len(re.split(r"\s+", text)) for text in texts)
    n_bytes = sum(len(text.encode()) for text in texts)
    word, byte = rows["word_perplexity"], rows["bits_per_byte"]
    assert word["value"] == pytest.approx(math.exp(-total / n_words), rel=1e-4)
    assert byte["value"] == pytest.approx(-total / n_bytes / math.log(2), rel=1e-5)
    assert word["samples"] == 3


def generated(model, start):
    """What the model writes next, greedily, up to a space or twelve tokens."""
    tokens = list(start.encode())
    for _ in range(12):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] in (ord(" "), BOS):
            tokens.pop()
            break
    return bytes(tokens[len(start.encode()) :]).decode()


def test_generation_is_greedy_and_stops(model, write_tasks, measured):
    starts = ["the layer grows and th", "a step is do", "with al", "before the loss f"]
    ends = [generated(model, start) for start in starts]
    assert any(len(end) < 12 for end in ends) and all(ends)
    ends[1] = ends[1] + "x"
    documents = [{"start": start, "end": end} for start, end in zip(starts, ends, strict=True)]
    _, rows = measured(write_tasks(GENERATE, generate=documents), "generate")
    assert rows["exact_match"]["value"] == pytest.approx(3 / 4)
    assert rows["exact_match"]["standard_error"] == pytest.approx(np.std([1, 0, 1, 1], ddof=1) / 2)


def test_a_perplexity_has_a_bootstrapped_error_of_this_process(model, write_tasks, measured):
    documents = [{"start": "the la", "end": end} for end in ("yer", "zy", "yer grows", "w")]
    _, rows = measured(write_tasks(GREEDY, generate=documents), "greedy")
    found = [text_likelihood(model, "the la", each["end"]) for each in documents]
    assert rows["perplexity"]["value"] == pytest.approx(math.exp(-np.mean(found)), rel=1e-5)
    draw = random.Random(0)
    means = [math.exp(-np.mean(draw.choices(found, k=4))) for _ in range(1000)]
    assert rows["perplexity"]["standard_error"] == pytest.approx(np.std(means, ddof=1), rel=1e-3)


def test_equal_prompts_have_an_equal_hash_and_others_another(write_tasks, measured):
    examples = [{"question": each, "choices": ["is", "it"], "gold": 0} for each in "abcdefgh"]
    folder = write_tasks(MULTIPLE_CHOICE, choice=choice_documents(), example=examples)
    first, again = (measured(folder, "choice", num_fewshot=3)[0] for _ in range(2))
    assert first == again
    hashes = [row["task_hash"] for row in first["results"]]
    assert len(set(hashes)) == 1 and len(hashes[0]) == 64
    other, _ = measured(folder, "choice", num_fewshot=2)
    assert other["results"][0]["task_hash"] != hashes[0]


def test_limit_takes_the_first_documents(model, write_tasks, measured):
    folder = write_tasks(MULTIPLE_CHOICE, choice=choice_documents(), example=choice_documents()[:1])
    _, rows = measured(folder, "choice", limit=2)
    assert rows["acc"]["samples"] == 2
    assert rows["brier_score"]["value"] == pytest.approx(np.mean(by_hand(model)[2][:2]), rel=1e-5)


def test_prompts_that_are_too_long_are_told(write_tasks, measured):
    documents = [{"question": "word " * 40, "choices": ["a", "b"], "gold": 0}]
    folder = write_tasks(MULTIPLE_CHOICE, choice=documents, example=documents)
    assert measured(folder, "choice")[0]["is_truncated"]


def test_a_group_gives_rows_for_its_tasks_and_its_own(write_tasks, measured):
    group = (
        "group: both\ntask: [choice, rolling]\n"
        "aggregate_metric_list: [{{metric: acc, weight_by_size: true}}]\n"
    )
    folder = write_tasks(
        MULTIPLE_CHOICE,
        ROLLING,
        group,
        choice=choice_documents(),
        example=choice_documents()[:1],
        rolling=[{"text": "it is done."}],
    )
    found, _ = measured(folder, "both")
    assert {row["task"] for row in found["results"]} == {"both", "choice", "rolling"}
    accuracy = {r["task"]: r["value"] for r in found["results"] if r["metric"] == "acc"}
    assert accuracy["both"] == accuracy["choice"]
    json.dumps(found, allow_nan=False)


def test_nothing_is_printed_and_global_generators_stay(write_tasks, measured, capfd):
    folder = write_tasks(MULTIPLE_CHOICE, choice=choice_documents(), example=choice_documents()[:1])

    def drawn():
        legacy = np.random.get_state()[1].tolist()  # noqa: NPY002 (what must not change)
        return random.getstate(), legacy, torch.get_rng_state().tolist()

    before = drawn()
    measured(folder, "choice", num_fewshot=1)
    assert drawn() == before
    assert capfd.readouterr() == ("", "")


REFUSED = [
    (GREEDY, "num_fewshot: 0", "is made for num_fewshot 0 alone"),
    (GREEDY, "unsafe_code: true", "runs code that the model writes"),
    (GREEDY.replace("metric: perplexity", "metric: bertscore"), "", "bertscore: code from the hub"),
    (GREEDY.replace("aggregation", "hf_evaluate: true, aggregation"), "", "code from the hub"),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED, ids=[each[2] for each in REFUSED])
def test_what_is_not_done_here_is_refused_before_anything_runs(write_tasks, text, line, message):
    from lagsearch.running.evaluation.tasks import open_tasks

    folder = write_tasks(text + line + "\n")
    harness = Harness(tasks=("greedy",), include_path=folder, num_fewshot=2)
    with pytest.raises(HarnessError, match=message) as caught:
        open_tasks(harness, print)
    assert caught.value.at == ("evaluation", "harness", "tasks", 0)


def test_a_missing_dataset_is_one_line_with_the_way_out(write_tasks, measured):
    expected = r"task greedy cannot be loaded from the dataset json \(.*generate.*\).*HF_HOME"
    with pytest.raises(HarnessError, match=expected) as caught:
        measured(write_tasks(GREEDY), "greedy")
    assert "\n" not in str(caught.value)


def test_ready_made_tasks_are_found_without_reading_all(capsys):
    from lagsearch.running.evaluation.tasks import open_tasks

    tasks = open_tasks(Harness(tasks=("gstack", "lag")), print)
    assert set(tasks.manager.all_subtasks) > {"lambada_openai", "wikitext", "tydiqa_goldp_en"}
    assert capsys.readouterr().out == ""
    configs = [tasks.manager.task_index[each].cfg for each in ("tydiqa_goldp_en", "triviaqa")]
    assert all("exact_match" in str(each["metric_list"]) for each in configs)


def test_own_tasks_win_over_those_of_the_same_name(write_tasks, measured):
    folder = write_tasks(
        ROLLING.replace("task: rolling", "task: wikitext"), rolling=[{"text": "a"}]
    )
    assert measured(folder, "wikitext")[1]["word_perplexity"]["samples"] == 1


def test_own_files_are_known_by_their_content(write_tasks):
    from lagsearch.running.evaluation.tasks import own_files

    assert own_files(Harness(tasks=("a",))) is None
    harness = Harness(tasks=("a",), include_path=write_tasks(ROLLING, rolling=[{"text": "a"}]))
    first = own_files(harness)
    assert own_files(harness) == first
    write_tasks(rolling=[{"text": "b"}])
    assert own_files(harness) != first


def test_without_the_extra_the_line_names_it(monkeypatch):
    from lagsearch.running.evaluation import tasks

    monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r"pip install -e '\.\[eval\]'"):
        tasks.open_tasks(Harness(tasks=("piqa",)), print)


def test_a_folder_that_is_not_there_is_named():
    from lagsearch.running.evaluation.tasks import open_tasks

    with pytest.raises(HarnessError, match="no such folder") as caught:
        open_tasks(Harness(tasks=("a",), include_path="nowhere"), print)
    assert caught.value.at[-1] == "include_path"


WORDS = """\
task: words
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/words.jsonl}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - {{metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}}
"""


@pytest.mark.slow
def test_a_run_evaluates_its_winner(write_space, write_tasks, tmp_path):
    """Other tests of runs have a measure of their own: to import lm_eval takes longer."""
    text = "the layer grows and the loss falls."
    folder = write_tasks(WORDS, words=[{"text": text[:30]}])

    def asked(task):
        listed = f"{{batches: 4, harness: {{tasks: [{task}], include_path: {folder}}}}}"
        return write_space(("evaluation: {batches: 4}", f"evaluation: {listed}"))

    finished(write_space(), tmp_path / "run")
    run = partial(lagsearch.run, out=tmp_path / "run", serial=True, watch=Watch())
    result = run(asked("words"))
    [row] = result.report["harness"]["results"]
    model = AutoModelForCausalLM.from_pretrained(result.checkpoint)
    tokens = torch.tensor([[BOS, *text[:30].encode()]])
    with torch.no_grad():
        loss = model(tokens, labels=tokens).loss.item()
    assert row["value"] == pytest.approx(loss / math.log(2), rel=1e-5)
    assert row["samples"] == 1
    with pytest.raises(SpaceError, match=r'tasks\[0\] "word": .*know no task of this name'):
        run(asked("word"))
