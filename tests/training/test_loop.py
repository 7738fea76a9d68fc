"""One model's training: gradients in several passes, the average of the weights, and resuming."""

import gc
import weakref
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch._dynamo.utils
import torch._inductor.config
from torch.nn.functional import log_softmax

from lagsearch.data.objectives.base import IGNORED, OnePart
from lagsearch.data.objectives.masking import example_seed
from lagsearch.data.objectives.registry import add_tokens, make_objective
from lagsearch.data.tokens.batches import validation_rows
from lagsearch.data.tokens.store import open_stores
from lagsearch.data.tokens.tokenizers import byte_tokenizer, vocabulary_size
from lagsearch.errors import ResourceError
from lagsearch.models.build import fresh_model, n_parameters
from lagsearch.models.configs import (
    build_config,
    grown_keys,
    plain_config,
    rebuild_config,
    shape_of,
    target_shape,
)
from lagsearch.models.layers import find_layers
from lagsearch.models.tensors import TensorFile
from lagsearch.operators import make_candidate
from lagsearch.operators.catalog.scratch import fresh_plan
from lagsearch.records.curve import read_curve
from lagsearch.running.workers.gpu_use import GpuUse, measure_gpu_use
from lagsearch.running.workers.rank import free_model
from lagsearch.space import (
    Corpus,
    Data,
    NewParameters,
    Objective,
    Optimizer,
    Schedule,
    Training,
    Validation,
)
from lagsearch.training import loop
from lagsearch.training.average import Average
from lagsearch.training.compiling import check_compiler
from lagsearch.training.job import Compute, Job, Text
from lagsearch.training.loop import train
from lagsearch.training.saving import Interval

LENGTH, BATCH, SEED = 16, 7, 5
SIZES = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2}
LLAMA = {"model_type": "llama", **SIZES, "intermediate_size": 12, "num_key_value_heads": 1}
BERT = {"model_type": "bert", **SIZES, "intermediate_size": 12, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2}  # its dropout is 0.1
OBJECTIVES = {
    "causal": Objective(),
    "masked": Objective(name="masked", mask_fraction=0.3, whole_words=True),
    "ul2": Objective(name="ul2"),
}


def test_what_a_job_takes_of_a_gpu_is_measured_beside_its_files(job_of, monkeypatch):
    """On a CPU with a GPU's name: nothing keeps that GPU busy, and steps are steps."""
    job, stepped = job_of(), []
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=7)
    )
    update = loop._Run._update
    monkeypatch.setattr(loop._Run, "_update", lambda run: stepped.append(update(run)))
    assert measure_gpu_use(job) == GpuUse(0.0, 3, 7)
    assert len(stepped) == 45  # a job of 6 steps
    assert not job.state.exists() and not job.curve.exists()


def has_compiler():
    """Return whether torch.compile can be used on the CPU."""
    try:
        check_compiler("cpu")
    except ResourceError:
        return False
    return True


class Uneven(OnePart):
    """Row r of a batch predicts its first r tokens, and the first three rows none."""

    kind = "causal"

    def example(self, rows, seed, *, exact=False):
        inputs, labels = rows[:, :-1].copy(), rows[:, 1:].copy()
        for row in range(len(rows)):
            labels[row, 0 if row < 3 else row :] = IGNORED
        return inputs, labels


@pytest.fixture(scope="module")
def texts(corpus, tmp_path_factory):
    """Return the tokens, and each objective with its vocabulary's size."""
    data = Data(
        train=Corpus(files=(str(corpus),)),
        validation=Validation(fraction=0.2),
        sequence_length=LENGTH,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAGSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = {"uneven": (Uneven(), vocabulary_size(byte_tokenizer()))}
        for name, settings in OBJECTIVES.items():
            tokenizer = byte_tokenizer()
            add_tokens(tokenizer, settings, LENGTH)
            size = vocabulary_size(tokenizer)
            made[name] = make_objective(settings, tokenizer, size, LENGTH), size
        return open_stores(data, byte_tokenizer()), made


@pytest.fixture
def job_of(texts, tmp_path):
    """Return a function that makes the job of a model that is trained from random weights."""
    stores, made = texts

    def make(objective="causal", keys=LLAMA, *, name="model", ema=None, steps=6, **training):
        predicts, size = made[objective]
        config = build_config({**keys, "vocab_size": size})
        training = {"batch_size": BATCH, "gradient_clip": None, **training}
        text = Text(stores, LENGTH, "growth", 2, predicts, SEED, SEED)
        return Job(
            name=name,
            config=plain_config(config),
            plan=fresh_plan(2),
            sources=(),
            n_parameters=n_parameters(fresh_model(config, predicts.kind, 0)),
            init_seed=11,
            training=Training(steps=steps, **training),
            text=text,
            compute=Compute(),
            evaluate_at=tuple(range(steps + 1)),
            curve=tmp_path / f"{name}.jsonl",
            state=tmp_path / f"{name}.safetensors",
            flops_per_step=10,
            ema=ema,
        )

    return make


def grown_from(source, job, n_layers=3):
    """Return the job of a deeper model, grown from another job's."""
    config = build_config(source.config)
    changes = {"num_hidden_layers": n_layers}
    shapes = (shape_of(config),)
    plan = make_candidate(
        "lag", {"index": 0, "block_size": 1, "init": "duplicate"}, shapes,
        target_shape(config, changes),
    ).plan  # fmt: skip
    target = rebuild_config(grown_keys(config, changes, [layer.layer for layer in plan.layers]))
    return replace(
        job,
        config=plain_config(target),
        plan=plan,
        sources=(source.state,),
        n_parameters=n_parameters(fresh_model(target, job.text.objective.kind, 0)),
    )


def run(job, until=None):
    for _ in train(job, job.training.steps if until is None else until):
        pass
    return outcome(job)


@dataclass(frozen=True)
class Outcome:
    evaluations: list
    tensors: dict


def outcome(job):
    """Return what is left of a training but for its seconds."""
    evaluations = [replace(each, wall_s=0.0) for each in read_curve(job.curve).evaluations]
    return Outcome(evaluations, dict(TensorFile(job.state)))


def assert_same(found, expected):
    assert found.evaluations == expected.evaluations
    assert set(found.tensors) == set(expected.tensors)
    differing = [
        name
        for name, each in found.tensors.items()
        if not torch.equal(each, expected.tensors[name])
    ]
    assert differing == []


def begun(job):
    """Return a model in training before its first step."""
    model = loop._Run(job)
    for _ in model.begin():
        pass
    model.model.train()
    return model


def gradients(job, step=0):
    model = begun(job)
    loss = model._gradient(step)
    return loss, {name: each.grad for name, each in model.model.named_parameters()}


def by_hand(job, step=0):
    """Return the mean loss over a step's predicted tokens, and its gradient, in one sum."""
    model = begun(job)
    batch = model.examples(step)
    inputs, labels = batch.inputs, batch.labels
    logits = model.model(inputs).logits.double()
    places = labels != IGNORED
    told = log_softmax(logits[places], dim=-1).gather(1, labels[places][:, None])
    loss = -told.sum() / places.sum()
    loss.backward()
    found = {name: each.grad for name, each in model.model.named_parameters()}
    return loss.detach(), found, places.sum(dim=1).tolist()


# Passes


@pytest.mark.parametrize("passes", [1, 2, 3, BATCH])
@pytest.mark.parametrize(
    ("objective", "keys"),
    [("causal", LLAMA), ("ul2", LLAMA), ("masked", BERT), ("uneven", LLAMA)],
    ids=["causal", "ul2", "masked", "uneven"],
)
def test_gradients_of_passes_are_those_of_the_batch(job_of, objective, keys, passes):
    job = job_of(objective, keys, gradient_accumulation=passes)
    expected_loss, expected, n_predicted = by_hand(job)
    if objective != "causal":
        assert len(set(n_predicted)) > 1  # or shares would say nothing
    loss, found = gradients(job)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-6)
    assert set(found) == set(expected)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert any(each.abs().max() > 1e-3 for each in found.values())


def test_passes_change_no_more_than_rounding(job_of):
    one = run(job_of("ul2", name="one", optimizer=Optimizer(name="sgd", lr=0.1)))
    other = run(
        job_of(
            "ul2", name="other", optimizer=Optimizer(name="sgd", lr=0.1), gradient_accumulation=4
        )
    )
    for a, b in zip(one.evaluations, other.evaluations, strict=True):
        assert a.val_loss_batches == pytest.approx(b.val_loss_batches, abs=1e-5)
        assert (a.step, a.flops) == (b.step, b.flops) == (a.step, 10 * a.step)
    assert one.evaluations[0].val_loss - one.evaluations[-1].val_loss > 0.01


def test_every_pass_draws_its_own_dropout(job_of, monkeypatch):
    drawn = []
    real = loop.Dropout.of
    monkeypatch.setattr(
        loop.Dropout, "of", lambda self, *purpose: drawn.append(purpose) or real(self, *purpose)
    )
    gradients(job_of(keys=GPT2, gradient_accumulation=3), step=4)
    assert drawn == [(4, 0), (4, 1), (4, 2)]
    drawn.clear()
    gradients(job_of(keys=GPT2, name="whole"), step=4)
    assert drawn == [(4,)]


# Layers that are computed again, or compiled


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize(
    ("objective", "keys"),
    [("causal", LLAMA), ("ul2", LLAMA), ("causal", GPT2), ("masked", BERT)],
    ids=["llama", "ul2", "gpt2-with-dropout", "bert"],
)
def test_gradient_checkpointing_changes_no_bit(job_of, objective, keys, passes):
    given = {"objective": objective, "keys": keys, "gradient_accumulation": passes, "ema": 0.9}
    plain = run(job_of(**given, name="plain"))
    job = job_of(**given, name="recomputed", gradient_checkpointing=True)
    assert_same(run(job), plain)

    model = begun(replace(job, state=job.state.with_name("none")))
    calls = []
    layers = find_layers(model.model, model.model.config).prefix
    for layer in model.model.get_submodule(layers):
        first = next(layer.children())  # what is within: the layer itself is called once
        first.register_forward_pre_hook(lambda module, args: calls.append(module))
    model._gradient(0)
    assert len(calls) == 2 * 2 * passes


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("recomputed", [None, True])
def test_compiled_layers_differ_by_rounding_and_resume_to_the_bit(job_of, tmp_path, recomputed):
    plain = run(job_of(name="plain"))
    job = job_of(name="compiled", compile=True, gradient_checkpointing=recomputed)
    compiled = run(job)
    for one, other in zip(compiled.evaluations, plain.evaluations, strict=True):
        assert one.val_loss_batches == pytest.approx(other.val_loss_batches, abs=1e-5)
    assert compiled.evaluations != plain.evaluations
    pieces = placed(job, "pieces", tmp_path)
    for until in (2, 4, 6):
        run(pieces, until)
    assert_same(outcome(pieces), compiled)


@needs_compiler
@pytest.mark.slow
def test_candidates_of_one_configuration_share_what_is_compiled(job_of):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    run(job_of(name="first", compile=True, steps=1))
    frames = dict(torch._dynamo.utils.counters["frames"])
    assert frames["ok"] > 0
    run(replace(job_of(name="second", compile=True, steps=1), init_seed=12))
    assert dict(torch._dynamo.utils.counters["frames"]) == frames


def test_what_is_faded_in_is_not_compiled(job_of, monkeypatch):
    compiled = []
    monkeypatch.setattr(loop, "compile_layers", compiled.append)
    job = job_of(compile=True)
    begun(job)
    assert len(compiled) == 1
    monkeypatch.setattr(loop.Ramp, "is_any", True)
    begun(replace(job, state=job.state.with_name("none")))
    assert len(compiled) == 1


def test_without_a_compiler_one_line_says_so(monkeypatch):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(ResourceError, match=r"torch.compile needs a C\+\+ compiler"):
        check_compiler("cpu")


# Evaluation


@pytest.mark.parametrize("passes", [1, 3])
def test_the_validation_loss_of_ul2_by_hand(job_of, passes):
    """Each part's mean over its predicted tokens, weighted as the space says."""
    job = job_of("ul2", gradient_accumulation=passes, steps=1)
    [first, _] = run(job).evaluations
    model = begun(replace(job, state=job.state.with_name("none"))).model.eval()
    tokens = job.text.stores.validation[0].store.tokens("validation")
    rows = validation_rows([(tokens, 1.0)], LENGTH, BATCH, 2)
    objective = job.text.objective
    for number, each in enumerate(rows):
        seed = example_seed(SEED, "validation", number)
        inputs, labels = map(torch.from_numpy, objective.example(each, seed, exact=True))
        with torch.no_grad():
            told = log_softmax(model(inputs).logits.double(), dim=-1)
        expected = {}
        for name, mode in zip(("causal", "prefix", "span"), objective.modes, strict=True):
            places = (labels != IGNORED) & (inputs[:, :1] == mode)
            losses = -told[places].gather(1, labels[places][:, None])
            expected[name] = losses.mean().item()
            assert first.parts[name][number] == pytest.approx(expected[name], rel=1e-5)
        whole = 0.6 * expected["causal"] + 0.2 * expected["prefix"] + 0.2 * expected["span"]
        assert first.val_loss_batches[number] == pytest.approx(whole, rel=1e-5)
    assert first.val_loss == pytest.approx(np.mean(first.val_loss_batches), rel=1e-9)


def test_steps_that_are_thinned_measure_the_first_batches(job_of):
    """The same numbers, of fewer batches; their mean is moved to where all were at step 0."""
    job = job_of(name="whole", ema=0.9)
    job = replace(job, text=replace(job.text, validation_batches=4))
    few = replace(
        job,
        thinned={1: 2, 4: 1},
        curve=job.curve.with_name("few.jsonl"),
        state=job.state.with_name("few.safetensors"),
    )
    pairs = list(zip(run(job).evaluations, run(few).evaluations, strict=True))
    whole = None
    for one, other in pairs:
        size = few.thinned.get(one.step, 4)
        assert other.val_loss_batches == one.val_loss_batches[:size]
        assert other.ema_batches == one.ema_batches[:size]
        if size == 4:
            whole = one
            assert other.val_loss == one.val_loss
        else:
            moved = np.mean(whole.val_loss_batches) - np.mean(whole.val_loss_batches[:size])
            expected = np.mean(one.val_loss_batches[:size]) + moved
            assert other.val_loss == pytest.approx(expected, rel=1e-12)
            # batches lie farther apart than the loss that is estimated from the one that is meant
            spread = np.std(one.val_loss_batches)
            assert abs(other.val_loss - one.val_loss) < spread
    assert torch.equal(run(job).tensors["weight.lm_head.weight"],
                       run(few).tensors["weight.lm_head.weight"])  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_are_measured_in_the_precision_that_is_asked_for(job_of, precision):
    """By hand: bf16 products are those of autocast, and the loss is taken of logits in fp32."""
    job = job_of(steps=1)
    job = replace(job, compute=Compute(evaluation=precision))
    [first, _] = run(job).evaluations
    model = begun(replace(job, state=job.state.with_name("none"))).model.eval()
    tokens = job.text.stores.validation[0].store.tokens("validation")
    for number, each in enumerate(validation_rows([(tokens, 1.0)], LENGTH, BATCH, 2)):
        inputs, labels = torch.from_numpy(each[:, :-1]), torch.from_numpy(each[:, 1:])
        with torch.no_grad():
            exact = log_softmax(model(inputs).logits.double(), dim=-1)
            with torch.autocast("cpu", torch.bfloat16):
                rough = log_softmax(model(inputs).logits.double(), dim=-1)
        expected = {
            name: -told.gather(2, labels[..., None]).mean().item()
            for name, told in {"fp32": exact, "bf16": rough}.items()
        }
        assert abs(expected["bf16"] - expected["fp32"]) > 3e-6  # else nothing is told apart
        assert first.val_loss_batches[number] == pytest.approx(expected[precision], abs=1e-6)


def test_a_large_validation_batch_goes_through_in_pieces_of_a_training_pass(job_of, monkeypatch):
    seen = []
    real = loop._Run._logits
    monkeypatch.setattr(loop._Run, "_logits", lambda self, x: seen.append(len(x)) or real(self, x))
    job = job_of(steps=1, batch_size=6, gradient_accumulation=2)
    job = replace(job, text=replace(job.text, validation_rows=8))
    run(job)
    assert seen == [3, 3, 2] * 2 + [3, 3] + [3, 3, 2] * 2


# The average of the weights


def test_the_average_is_the_recursion(job_of, monkeypatch):
    weights = []
    real = loop._Run._update

    def update(self):
        if not weights:
            weights.append({n: p.detach().double() for n, p in self.model.named_parameters()})
        real(self)
        weights.append({n: p.detach().double() for n, p in self.model.named_parameters()})

    monkeypatch.setattr(loop._Run, "_update", update)
    job = job_of(ema=0.8, optimizer=Optimizer(lr=0.05))
    found = run(job)
    assert len(weights) == 7
    expected = weights[0]
    averages = [expected]
    for now in weights[1:]:
        expected = {name: 0.8 * expected[name] + 0.2 * now[name] for name in now}
        averages.append(expected)
    for name, each in expected.items():
        saved = found.tensors[f"average.{name}"].double()
        torch.testing.assert_close(saved, each, rtol=1e-5, atol=1e-6)
        assert not torch.equal(saved, weights[-1][name])
        # and what is trained on is not the average
        assert torch.equal(found.tensors[f"weight.{name}"].double(), weights[-1][name])

    model = begun(replace(job, state=job.state.with_name("none")))
    for evaluation, average in zip(found.evaluations, averages, strict=True):
        for name, parameter in model.model.named_parameters():
            parameter.data.copy_(average[name])
        assert evaluation.ema_batches == pytest.approx(model._measure()[0], abs=1e-5)
    first, last = found.evaluations[0], found.evaluations[-1]
    assert first.ema_batches == first.val_loss_batches
    assert last.ema_batches != pytest.approx(last.val_loss_batches, abs=1e-3)


@pytest.mark.parametrize("keys", [LLAMA, GPT2], ids=lambda k: k["model_type"])
def test_the_average_changes_no_training(job_of, keys):
    settings = {"keys": keys, "optimizer": Optimizer(lr=0.02), "gradient_accumulation": 2}
    without, averaged = (
        run(job_of("ul2", name=name, ema=ema, **settings))
        for name, ema in (("without", None), ("averaged", 0.9))
    )
    assert [replace(each, ema_batches=()) for each in averaged.evaluations] == without.evaluations
    assert all(each.ema_batches == () for each in without.evaluations)
    for name, tensor in without.tensors.items():
        assert torch.equal(tensor, averaged.tensors[name]), name
    assert {name for name in averaged.tensors if name not in without.tensors} == {
        name.replace("weight.", "average.", 1)
        for name in without.tensors
        if name.startswith("weight.")
    }


@pytest.mark.parametrize("name", ["adamw", "sgd", "adafactor", "muon"])
@pytest.mark.parametrize("keys", [LLAMA, GPT2], ids=["llama", "gpt2-with-dropout"])
def test_a_decay_that_branches_off_is_that_of_wsd_and_changes_no_training(job_of, keys, name):
    given = {"keys": keys, "optimizer": Optimizer(name=name, lr=0.01)}
    plain = run(job_of(**given, name="plain"))
    job = replace(job_of(**given, name="annealed"), annealed={2: 3, 4: 1})
    annealed = run(job)
    assert annealed.tensors.keys() == plain.tensors.keys()
    for key, tensor in plain.tensors.items():
        torch.testing.assert_close(annealed.tensors[key], tensor, rtol=0, atol=0)
    for own, other in zip(annealed.evaluations, plain.evaluations, strict=True):
        assert own.val_loss_batches == other.val_loss_batches
        steps = {2: 3, 4: 1}.get(own.step, 0)
        assert own.annealed_flops == 10 * steps
        if steps == 0:
            assert own.annealed_batches == ()
            continue
        falling = Schedule(name="wsd", decay_steps=steps, final_fraction=0.0)
        whole = job_of(**given, name=f"wsd{steps}", steps=own.step + steps, schedule=falling)
        assert own.annealed_batches == run(whole).evaluations[-1].val_loss_batches
    assert read_curve(job.curve).at(2).annealed_batches == annealed.evaluations[2].annealed_batches


def test_an_average_in_place_leaves_the_weights_as_they_were():
    model = torch.nn.Linear(3, 2)
    average = Average(model, 0.5)
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update()
    own = [each.detach().clone() for each in model.parameters()]
    with pytest.raises(RuntimeError, match="torn"), average.in_place():
        torch.testing.assert_close(model.weight.detach(), own[0] - 0.5)
        raise RuntimeError("torn")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own, strict=True))
    average.begin()
    assert torch.equal(average.tensors["weight"], own[0])
    assert average.tensors["weight"].data_ptr() != model.weight.data_ptr()


# Killed and begun again


class Killed(BaseException):
    """What a process that is killed sees of it."""


HARD = {  # all that has a state of its own, in the midst of a warm-up
    "optimizer": Optimizer(name="adafactor", lr=0.02, weight_decay=0.1),
    "schedule": Schedule(name="cosine", warmup_steps=12, total_steps=40),
    "gradient_accumulation": 3,
    "gradient_clip": 0.5,
    "ema": 0.7,
    "steps": 5,
}
needs_adafactor = pytest.mark.skipif(
    not hasattr(torch.optim, "Adafactor"), reason="this torch has no Adafactor"
)


@pytest.fixture
def source(job_of):
    """Return a source that has been trained."""
    job = job_of("ul2", name="source", **{**HARD, "ema": None})
    run(replace(job, evaluate_at=()))
    return job


def kill_at(monkeypatch, method, count):
    """Kill the training at the call of a method that follows as many others."""
    real, calls = getattr(loop._Run, method), []

    def watched(self, *given):
        calls.append(None)
        if len(calls) > count:
            raise Killed
        return real(self, *given)

    monkeypatch.setattr(loop._Run, method, watched)


def placed(job, name, tmp_path, **interval):
    return replace(
        job,
        curve=tmp_path / f"{name}.jsonl",
        state=tmp_path / f"{name}.safetensors",
        compute=Compute(saving=Interval(after_s=0.0, times_last=0.0, **interval)),
    )


MOMENTS = [  # method, seconds between saves, how often it is called
    ("_update", 0.0, range(5)),
    ("_evaluate", 0.0, range(3)),
    ("_save", 0.0, range(6)),
    ("_update", 1e9, (0, 3)),
    ("_step", 0.0, (2, 3, 4, 6)),  # the third and the fourth are those of a decay
]


@needs_adafactor
@pytest.mark.parametrize(
    ("method", "every_s", "counts"),
    MOMENTS,
    ids=["update", "evaluation", "save", "no save", "decay"],
)
def test_killed_at_any_step_and_begun_again(
    job_of, source, tmp_path, monkeypatch, method, every_s, counts
):
    job = grown_from(source, job_of("ul2", **HARD))
    job = replace(job, evaluate_at=(0, 2, 5), annealed={2: 2})
    whole = run(placed(job, "whole", tmp_path))
    assert [each.step for each in whole.evaluations] == [0, 2, 5]
    assert all(each.ema_batches for each in whole.evaluations)
    assert [len(each.annealed_batches) > 0 for each in whole.evaluations] == [False, True, False]
    for count in counts:
        cut = placed(job, f"cut{count}", tmp_path, every_s=every_s)
        with monkeypatch.context() as patch:
            kill_at(patch, method, count)
            with pytest.raises(Killed):
                run(cut)
        assert_same(run(cut), whole)


@needs_adafactor
def test_killed_at_every_step_in_turn(job_of, source, tmp_path, monkeypatch):
    """Each process does one step and dies."""
    job = replace(grown_from(source, job_of("ul2", **HARD)), evaluate_at=(3, 5))
    job = placed(job, "cut", tmp_path, every_s=0.0)
    whole = run(placed(job, "whole", tmp_path))
    for _ in range(4):
        with monkeypatch.context() as patch:
            kill_at(patch, "_update", 1)
            with pytest.raises(Killed):
                run(job)
    assert_same(run(job), whole)


PACED = {
    **HARD,
    "optimizer_state": "reset_new",
    "new_parameters": NewParameters(lr_scale=0.5, rewarm_steps=4, freeze_source_steps=2),
}


@needs_adafactor
@pytest.mark.parametrize("method", ["_update", "_step"])
def test_new_parameters_keep_their_pace_when_killed_and_begun_again(
    job_of, source, tmp_path, monkeypatch, method
):
    """With gradients in passes and clipped, an average, and a decay that branches off."""
    job = replace(
        grown_from(source, job_of("ul2", **PACED)), evaluate_at=(0, 2, 5), annealed={2: 2}
    )
    whole = run(placed(job, "whole", tmp_path))
    for count in range(1, 6):
        cut = placed(job, f"cut{count}", tmp_path, every_s=0.0)
        with monkeypatch.context() as patch:
            kill_at(patch, method, count)
            with pytest.raises(Killed) if count < 5 or method == "_step" else nullcontext():
                run(cut)
        assert_same(run(cut), whole)
    begun_at, frozen = (placed(job, f"until{step}", tmp_path) for step in (0, 2))
    before, after = run(begun_at, 0).tensors, run(frozen, 2).tensors
    name = "weight.model.layers.{}.mlp.up_proj.weight"
    is_equal = [torch.equal(before[name.format(n)], after[name.format(n)]) for n in range(3)]
    assert is_equal == [not layer.is_new for layer in job.plan.layers]


def test_trained_in_pieces_with_dropout_and_muon(job_of, tmp_path):
    """To K first and then to completion, as a search does."""
    name = "muon" if hasattr(torch.optim, "Muon") else "adamw"
    settings = {
        **HARD,
        "optimizer": Optimizer(name=name, lr=0.01),
        "schedule": Schedule(name="wsd", warmup_steps=2, decay_steps=2),
    }
    whole = job_of("causal", GPT2, name="whole", **settings)
    run(whole)
    pieces = placed(whole, "pieces", tmp_path)
    for until in (0, 2, 3, 5):
        run(pieces, until)
        assert read_curve(pieces.curve).evaluations[-1].step == until
    assert_same(outcome(pieces), outcome(whole))


@needs_adafactor
def test_the_grown_optimizer_goes_on_with_the_sources_state(job_of, source):
    """At step 0 the copied layers have the source's factors, and it has been their step 5."""
    job = replace(grown_from(source, job_of("ul2", **HARD)), evaluate_at=(0,))
    run(job, 0)
    before, after = TensorFile(source.state), TensorFile(job.state)
    name = "model.layers.{}.mlp.up_proj.weight"
    origins = [layer.layer for layer in job.plan.layers]
    assert sorted(origins) == [0, 0, 1]
    for layer, origin in enumerate(origins):
        for kept in ("row_var", "col_var"):
            torch.testing.assert_close(
                after[f"{kept}.{name.format(layer)}"], before[f"{kept}.{name.format(origin)}"],
                rtol=1e-6, atol=0.0,
            )  # fmt: skip
        assert after[f"step.{name.format(layer)}"].item() == 5.0
    reset = replace(job, training=job.training.model_copy(update={"optimizer_state": "reset"}))
    reset = replace(reset, state=reset.state.with_name("reset.safetensors"))
    run(reset, 1)
    assert TensorFile(reset.state)[f"step.{name.format(0)}"].item() == 1.0


def test_nothing_of_a_model_is_left_when_it_is_freed(job_of):
    """Also where what was seen before is not looked through again."""
    gone, kept = [], []
    try:
        for number in range(3):
            trained = loop._Run(job_of(name=f"model{number}", steps=1))
            list(trained.begin())
            gone.append(weakref.ref(trained.model))
            del trained
            free_model()
            assert gone[-1]() is None
            kept.append(gc.get_freeze_count())
        assert kept[2] - kept[1] < 50  # what was imported is all that stays: a model is hundreds
    finally:
        gc.unfreeze()
