"""Ollama's dialect: what its clients need to take this server for a running Ollama."""
