"""Load and summarise rows, compare them, and test the differences."""
