"""What vectors in fewer bytes cost: variants, how they are kept and searched, and the figures of each."""
