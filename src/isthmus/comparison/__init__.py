"""Several models beside each other: the same rows, budget and seeds, and differences with their errors."""
