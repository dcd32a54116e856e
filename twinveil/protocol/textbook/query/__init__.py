"""A query's skeleton, the same for every engine: opening, picture, stages, answer."""
