"""Why a signal was decided as it was: which rule, from which inputs, and what would have changed the answer."""
