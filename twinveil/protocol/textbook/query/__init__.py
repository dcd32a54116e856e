"""A picture at both clouds: opening, import of the picture, the functions stage by stage, answer."""
