"""What is acknowledged survives every fault, and every edit is found: random, and repeated by a seed."""
