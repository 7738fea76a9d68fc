"""The Hugging Face example on the very batches of lagsearch's own loop, which lie in rows.npy."""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import Trainer

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "hugging_face"))
import train


def rows(tokenizer, text, length):
    found = [{"input_ids": row, "labels": row} for row in torch.from_numpy(np.load("rows.npy"))]
    return found, found[:16]


train.rows = rows
Trainer._get_train_sampler = lambda self, data=None: torch.utils.data.SequentialSampler(data)
train.main()
