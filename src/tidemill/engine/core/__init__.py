"""The engine process: a plain synchronous loop around the scheduler and a runner."""
