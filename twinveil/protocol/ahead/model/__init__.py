"""Import of a model as shares modulo 2^L, without a circuit."""
