"""The engine as the API process sees it: starts it, watches it, and turns its tokens into text."""
