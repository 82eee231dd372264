"""One file for each thing minnow can do; each draws exchanges from a world."""
