"""Image data sets; each file registers some, ``base`` states what they have in common."""
