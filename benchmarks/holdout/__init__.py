"""What others measured, almost all of it outside every fit of ours, and how far the models are."""
