"""Stages that tell people: the report and the released model."""
