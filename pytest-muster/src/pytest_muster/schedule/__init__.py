"""Which worker runs which test when, from the durations of earlier runs or as a recorded run did."""
