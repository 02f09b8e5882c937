"""What launch/notebook.ipynb has beside its cells: packages for the runtime, progress in place, pictures."""
