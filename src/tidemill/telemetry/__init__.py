"""What is measured and logged: every metric declared once, facts of engines and requests turned into them."""
