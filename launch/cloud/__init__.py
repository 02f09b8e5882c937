"""Starting tinyjax's binaries on other machines, with the standard library alone."""
