"""Trainers of the user's own: another way to make a candidate's curve and state."""

from lagsearch.running.trainers.job import Call, TrainerJob

__all__ = ["Call", "TrainerJob"]
