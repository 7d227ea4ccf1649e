"""Applying events to every copy, with proof."""
