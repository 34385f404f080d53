"""The parts of the reading screen, each drawn by one function."""
