"""The textbook engine: the published formulas, one ciphertext a value."""
