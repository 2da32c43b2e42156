"""Rows, run folders, stores, manifests, and what runs are called."""
