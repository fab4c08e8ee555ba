"""Pure maths of ranking and significance, shared by several slices."""
