"""What a person sees while tests run and when they have ended."""
