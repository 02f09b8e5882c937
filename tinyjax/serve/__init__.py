"""A server that tells stories over HTTP, as OpenAI's completions, and a page to play with a model."""
