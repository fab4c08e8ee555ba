"""The stage that merges models."""
