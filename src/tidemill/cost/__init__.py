"""What a step costs: a small model of its seconds, fitted online from the engine's own steps. No torch, no numpy."""
