"""Copies of official data sets in a folder, for evaluation without a network."""
