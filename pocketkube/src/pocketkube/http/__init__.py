"""HTTP: requests in, responses and watch streams out."""
