"""Who is compared: how each server is started for a piece of work, and what stands between it and a fair comparison."""
