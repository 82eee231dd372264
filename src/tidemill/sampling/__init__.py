"""From logits to tokens: hooks in a fixed order."""
