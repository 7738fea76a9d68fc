"""From a DCP checkpoint to a Hugging Face folder: python export.py STEP-FOLDER GROWN FOLDER."""

import sys

import torch
import torch.distributed.checkpoint as dcp
from transformers import AutoConfig, AutoModelForCausalLM

path, grown, out = sys.argv[1:]
model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(grown), dtype=torch.float32)
weights = {"model": model.state_dict()}
dcp.load(weights, checkpoint_id=path, no_dist=True)
model.load_state_dict(weights["model"])
model.save_pretrained(out)
