"""Systems against a baseline: differences, how sure one can be of them, and gates that rest on them."""
