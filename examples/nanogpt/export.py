"""From ckpt.pt to a Hugging Face folder: python export.py ckpt.pt GROWN FOLDER."""

import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

path, grown, out = sys.argv[1:]
model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(grown), dtype=torch.float32)
model.load_state_dict(torch.load(path, weights_only=True)["model"])
model.save_pretrained(out)
