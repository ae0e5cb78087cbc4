"""What a run, a worker or a test has to itself: directories, ports, names, processes, and their clean-up."""
