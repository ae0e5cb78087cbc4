"""The open signals as a page, served to one person on their own machine with what that person may read."""
