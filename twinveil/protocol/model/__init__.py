"""A model at both clouds, for each engine that it was outsourced for."""
