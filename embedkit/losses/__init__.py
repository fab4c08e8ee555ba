"""Losses a recipe can name."""
