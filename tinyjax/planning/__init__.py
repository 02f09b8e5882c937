"""What a run needs of chips that one hasn't got: its steps compiled for them, and the programs read."""
