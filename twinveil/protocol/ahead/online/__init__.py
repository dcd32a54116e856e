"""What is left once a picture comes: shares and labels, no ciphertext."""
