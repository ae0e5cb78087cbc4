"""One module a cause: a plain function from what happened to what the cause would claim."""
