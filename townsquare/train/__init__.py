"""Shards to checkpoints: one loop for pretraining and tuning."""
