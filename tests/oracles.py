"""The formulas in plain Python loops over floats, straight from the papers. Imports nothing of embedkit."""
