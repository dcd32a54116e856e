"""The import of a model at both clouds: halves in, shares and ciphertexts out."""
