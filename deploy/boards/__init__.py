"""The three boards: what is promised and kept, what the engine does, and what it takes."""
