"""Decides what each step computes: sequences, blocks, prefix cache, preemption. No torch, and no clock of its own."""
