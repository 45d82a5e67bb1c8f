"""How well answers are read, measured on a set that was labelled by hand."""
