"""The packed engine: many values a ciphertext."""
