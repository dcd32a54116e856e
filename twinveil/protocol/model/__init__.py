"""The import of a model at both clouds, for each engine that it is outsourced for, in one conversation."""
