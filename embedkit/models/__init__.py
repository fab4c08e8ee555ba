"""Stages that assemble models: a backbone with a pooling, two towers, static embeddings."""
