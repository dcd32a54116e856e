"""The import of a model at both clouds: halves in, shares modulo 2^L and E(K2) out, without a circuit."""
