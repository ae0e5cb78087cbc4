"""The objects in memory, their history, and the file that keeps them."""
