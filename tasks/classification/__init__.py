"""Image classification: data sets in memory or in folders, networks, metrics and recipes."""
