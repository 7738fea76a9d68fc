"""The Hugging Face Trainer as the trainer of a search: see space.yaml beside it.

Everything here is the Trainer's own but for three things: it begins with a grown checkpoint, and
with its moments; it stops at the step that the search asks for, while its schedule spans all.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from lagsearch.callbacks import LagCallback


class StopAt(TrainerCallback):
    """Saves, and ends, at a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **rest):
        if state.global_step >= self.step:
            control.should_save = control.should_training_stop = True


class GrownMoments(TrainerCallback):
    """Begins with the moments that were grown with the weights, where there are any."""

    def __init__(self, folder):
        self.path = folder / "training" / "optimizer.safetensors"

    def on_train_begin(self, args, state, control, model, optimizer, **rest):
        if state.global_step or not self.path.is_file():
            return
        moments, optimizer = load_file(self.path), getattr(optimizer, "optimizer", optimizer)
        for name, parameter in model.named_parameters():
            optimizer.state[parameter] = {
                kept: moments[f"{kept}.{name}"] for kept in ("step", "exp_avg", "exp_avg_sq")
            }


def rows(tokenizer, text, length):
    """Cut a text into sequences; the last twentieth of them is held out."""
    tokens = tokenizer(text, return_tensors="pt", verbose=False).input_ids[0]
    cut = tokens[: len(tokens) // length * length].view(-1, length)
    found = [{"input_ids": row, "labels": row} for row in cut]
    held_out = max(1, len(found) // 20)
    return found[:-held_out], found[-held_out:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--init", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--stop-at", type=int, required=True)
    parser.add_argument("--max-steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup-steps", type=int, default=0)
    parser.add_argument("--resume")
    asked = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(asked.init)
    train, held_out = rows(tokenizer, asked.text.read_text(), asked.length)
    arguments = TrainingArguments(
        output_dir=asked.out,
        max_steps=asked.max_steps,
        per_device_train_batch_size=asked.batch_size,
        per_device_eval_batch_size=asked.batch_size,
        learning_rate=asked.lr,
        weight_decay=0.1,
        adam_beta2=0.95,
        lr_scheduler_type="cosine",
        warmup_steps=asked.warmup_steps,
        eval_strategy="steps",
        eval_steps=max(1, asked.max_steps // 20),
        save_strategy="steps",
        save_steps=max(1, asked.max_steps // 10),  # a killed search goes on from there
        seed=asked.seed,
        report_to=[],
        disable_tqdm=True,
    )
    Trainer(
        model=AutoModelForCausalLM.from_pretrained(asked.init, dtype=torch.float32),
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        callbacks=[
            LagCallback(asked.out / "losses.jsonl", asked.out.parent.name, seed=asked.seed),
            StopAt(asked.stop_at),
            GrownMoments(asked.init),
        ],
    ).train(resume_from_checkpoint=asked.resume)


if __name__ == "__main__":
    main()
