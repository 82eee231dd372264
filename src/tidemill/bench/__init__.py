"""A load generator for any OpenAI-compatible server: what to send, when, what came back, and what it means."""
