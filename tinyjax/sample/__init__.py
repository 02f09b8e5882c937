"""Telling stories: continuations of prompts from a checkpoint's parameters and tokenizer alone."""
