"""One item: all that one picture needs, made ahead of it and spent once."""
