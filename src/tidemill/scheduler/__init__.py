"""Decides what each step computes: sequences, blocks, prefix cache, preemption. Imports no torch and reads no clock of its own."""
