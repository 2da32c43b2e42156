"""What a run is called, and the code that decides its numbers."""
