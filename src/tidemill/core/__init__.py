"""What every layer may speak of: requests, messages, the backend seam, errors, statistics, the clock. No torch, no I/O."""
