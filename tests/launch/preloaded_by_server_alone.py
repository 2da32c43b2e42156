"""A module that only the fork server of one test imports."""
