"""What every layer may speak of: requests, messages, the backend seam, errors, facts, the clock. No torch, no I/O."""
