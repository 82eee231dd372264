"""The recipe of the bundled model: its world, its tokenizer, its training and its examination.

Nothing here is imported by the package that serves models.
"""
