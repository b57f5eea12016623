"""Making material for Speech Information Retrieval: what is said, by whom, and what is asked about it."""
