"""What it took: meters, whose joules they were, what they mean in water, carbon and money, and the books."""
