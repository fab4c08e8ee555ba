"""Stages that bring text and models in from outside."""
