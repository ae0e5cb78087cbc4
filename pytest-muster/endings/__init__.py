"""Ends many small runs in every way there is, at random moments, and looks what is left of them."""
