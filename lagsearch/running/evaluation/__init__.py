"""Downstream tasks: lm-evaluation-harness over candidates and winners."""
