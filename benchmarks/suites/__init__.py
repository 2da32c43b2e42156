"""Suite files, and how they are read."""
