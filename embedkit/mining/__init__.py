"""Stages that find hard negatives and have them scored by teachers."""
