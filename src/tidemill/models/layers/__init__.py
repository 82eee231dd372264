"""The parts a decoder is made of; each computes through the kernels it is given."""
