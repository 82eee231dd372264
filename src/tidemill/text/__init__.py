"""Between text and tokens, without torch: tokenizer, templates, detokenization, stop strings, validation."""
