"""Networks; each file registers some, ``zoo`` builds one by its name."""
