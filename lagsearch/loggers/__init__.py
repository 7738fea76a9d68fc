"""Loggers: the curves of a run in TensorBoard, W&B, MLflow or an Optuna study, where asked for."""

from lagsearch.loggers.follower import Follower, following, send
from lagsearch.loggers.registry import (
    LOGGERS,
    KnownLogger,
    RunLogger,
    find_loggers,
    logger,
)

__all__ = [
    "LOGGERS",
    "Follower",
    "KnownLogger",
    "RunLogger",
    "find_loggers",
    "following",
    "logger",
    "send",
]
