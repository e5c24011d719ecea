"""Scores of untrained networks: tasks, evaluators, and the pools of workers."""
