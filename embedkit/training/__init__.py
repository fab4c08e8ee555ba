"""The stage that trains a model."""
