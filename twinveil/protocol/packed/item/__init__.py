"""Items at both clouds: all that one picture of one model wants and that does not depend on it."""
