"""What a model does inside, as JSON and as one interactive page."""
