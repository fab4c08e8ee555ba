"""The stage that scores models."""
