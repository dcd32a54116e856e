"""Pictures at both clouds, an item each: no power, no ciphertext, no extension of transfers."""
