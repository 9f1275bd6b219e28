"""What the advisor costs: seconds and memory of a whole evaluation of a large cluster."""
