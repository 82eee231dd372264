"""The engine on both sides of its process boundary: `core` computes, `client` speaks for it, by `protocol`."""
