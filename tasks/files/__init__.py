"""Files of data: finding them, decoding pictures by one rule, and remembering what they hold."""
