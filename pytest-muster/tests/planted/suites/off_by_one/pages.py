def pages(entries, size):
    return entries // size
