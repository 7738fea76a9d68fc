"""A loop in the manner of nanoGPT: one file, one ckpt.pt, a line of losses at each evaluation.

python train.py --init FOLDER --out FOLDER --text FILE --stop-at N --max-iters N [--resume ckpt.pt]
"""

import argparse
import json
import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
for name in ("init", "out", "text", "resume"):
    parser.add_argument(f"--{name}", type=Path, required=name != "resume")
for name, value in {"stop-at": 100, "max-iters": 200, "seed": 0, "block-size": 64}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
for name, value in {"batch-size": 16, "eval-interval": 10, "eval-iters": 8}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
parser.add_argument("--learning-rate", type=float, default=1e-3)
config = parser.parse_args()

tokens = AutoTokenizer.from_pretrained(config.init)(
    config.text.read_text(), return_tensors="pt", verbose=False
).input_ids[0]
data = {"train": tokens[: len(tokens) * 19 // 20], "val": tokens[len(tokens) * 19 // 20 :]}
model = AutoModelForCausalLM.from_pretrained(config.init, dtype=torch.float32)
matrices = [each for each in model.parameters() if each.dim() >= 2]
vectors = [each for each in model.parameters() if each.dim() < 2]
optimizer = torch.optim.AdamW(
    [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
    lr=config.learning_rate, betas=(0.9, 0.95),
)  # fmt: skip
iter_num = 0
if config.resume:
    checkpoint = torch.load(config.resume, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    iter_num = checkpoint["iter_num"]


def get_batch(split, number):
    """Draw sequences: the same ones for the same number, also after a restart."""
    draw = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
    starts = torch.randint(
        len(data[split]) - config.block_size, (config.batch_size,), generator=draw
    )
    return torch.stack(
        [data[split][start : start + config.block_size] for start in starts]
    )  # (B, T)


@torch.no_grad()
def estimate_loss():
    """Return the mean loss of validation batches that are always the same."""
    batches = [get_batch("val", -1 - number) for number in range(config.eval_iters)]
    return sum(float(model(batch, labels=batch).loss) for batch in batches) / len(batches)


while True:
    done = iter_num >= config.stop_at
    if done or iter_num % config.eval_interval == 0:
        with (config.out / "losses.jsonl").open("a") as log:
            log.write(json.dumps({"iter": iter_num, "val/loss": estimate_loss()}) + "\n")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "iter_num": iter_num}, config.out / "ckpt.pt")
    if done:
        break
    share = 0.1 + 0.45 * (1 + math.cos(math.pi * iter_num / config.max_iters))
    for group in optimizer.param_groups:
        group["lr"] = share * config.learning_rate
    batch = get_batch("train", iter_num)
    model(batch, labels=batch).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    iter_num += 1
