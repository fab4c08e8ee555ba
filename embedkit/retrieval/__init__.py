"""Encoders, stored vectors and indexes, shared by mining, soups and evaluation."""
