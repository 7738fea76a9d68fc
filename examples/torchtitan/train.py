"""A loop in the manner of torchtitan: sharded by FSDP2, checkpoints of torch's own DCP.

    torchrun --nproc-per-node 2 train.py --init FOLDER --out FOLDER --text FILE --steps N

Each rank takes its rows of every batch. Without torchrun it is one process.
"""

import argparse
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
for name in ("init", "out", "text", "resume"):
    parser.add_argument(f"--{name}", type=Path, required=name != "resume")
for name, value in {"steps": 100, "seed": 0, "seq-len": 64, "batch-size": 16}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--checkpoint-every", type=int, default=50)
config = parser.parse_args()

for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
    os.environ.setdefault(name, value)
os.environ.setdefault("MASTER_PORT", "0")
device = "cuda" if torch.cuda.is_available() else "cpu"
dist.init_process_group("nccl" if device == "cuda" else "gloo")
rank, world = dist.get_rank(), dist.get_world_size()

tokens = AutoTokenizer.from_pretrained(config.init)(
    config.text.read_text(), return_tensors="pt", verbose=False
).input_ids[0]
model = AutoModelForCausalLM.from_pretrained(config.init, dtype=torch.float32).to(device)
mesh = init_device_mesh(device, (world,))
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=(0.9, 0.95))


def states():
    """Return what a checkpoint holds, sharded as it is."""
    weights, moments = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": moments}


step = 0
if config.resume:
    loaded = states()
    dcp.load(loaded, checkpoint_id=config.resume)
    set_state_dict(
        model, optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"]
    )
    step = int(config.resume.name.removeprefix("step-"))

while step < config.steps:
    draw = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    starts = torch.randint(len(tokens) - config.seq_len, (config.batch_size,), generator=draw)
    rows = [tokens[start : start + config.seq_len] for start in starts[rank::world]]
    batch = torch.stack(rows).to(device)
    loss = model(batch, labels=batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    step += 1
    if rank == 0:
        with (config.out / "losses.jsonl").open("a") as log:
            log.write(json.dumps({"step": step, "loss": loss.item()}) + "\n")
    if step == config.steps or step % config.checkpoint_every == 0:
        dcp.save(states(), checkpoint_id=config.out / "checkpoint" / f"step-{step}")
dist.destroy_process_group()
